// Calls of one client in a row, as its users make them: `node ask.mjs '{"client": "openai-stream", "url": …, "key": …}'`;
// "calls" may give the headers of each. Prints what the client made of the last one, as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const { client, url, key, calls = [{}] } = JSON.parse(process.argv[2]);
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const vercel = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
const messages = [{ role: "user", content: "Hello" }];

const clients = {
  async "openai"(headers) {
    const asked = openai.chat.completions.create({ model: "m", messages }, { headers });
    const { data, response } = await asked.withResponse();
    return { text: data.choices[0].message.content, headers: Object.fromEntries(response.headers) };
  },
  async "openai-stream"() {
    const stream = openai.chat.completions.stream({ model: "m", messages });
    const answer = await stream.finalChatCompletion();
    return { text: answer.choices[0].message.content, finished: answer.choices[0].finish_reason };
  },
  async "openai-responses-stream"() {
    let text = "";
    let last;
    for await (const event of await openai.responses.create({ model: "m", input: "Hello", stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event;
    }
    return { text, finished: last.response.incomplete_details?.reason ?? last.response.status };
  },
  async "ai-sdk"(headers) {
    const answer = await generateText({ model: vercel.chat("m"), prompt: "Hello", headers });
    return { text: answer.text, headers: answer.response.headers };
  },
  "ai-sdk-stream": () => streamed(vercel.chat("m")),
  "ai-sdk-responses-stream": () => streamed(vercel.responses("m")),
};

async function streamed(model) {
  let failure;
  const stream = streamText({ model, prompt: "Hello", onError: ({ error }) => { failure = error; } });
  try {
    return { text: await stream.text, finished: await stream.finishReason };
  } catch (error) {
    throw failure ?? error;
  }
}

function described(error) {
  const cause = error.lastError ?? error;
  return {
    error: error.constructor.name,
    status: cause.status ?? cause.statusCode,
    code: cause.code ?? cause.data?.error?.code,
    message: cause.message,
    headers: Object.fromEntries(new Headers(cause.headers ?? cause.responseHeaders)),
  };
}

let said;
for (const headers of calls) said = await clients[client](headers).catch(described);
console.log(JSON.stringify(said));
