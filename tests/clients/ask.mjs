// One call of one client, as its users make it: `node ask.mjs '{"client": "openai-stream", "url": …, "key": …}'`.
// Prints what the client made of it, as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const { client, url, key } = JSON.parse(process.argv[2]);
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key });
const vercel = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
const messages = [{ role: "user", content: "Hello" }];

const clients = {
  async "openai"() {
    const answer = await openai.chat.completions.create({ model: "m", messages });
    return { text: answer.choices[0].message.content };
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
  async "ai-sdk"() {
    return { text: (await generateText({ model: vercel.chat("m"), prompt: "Hello" })).text };
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
    reason: error.reason,
    cause: cause.constructor.name,
    status: cause.status ?? cause.statusCode,
    code: cause.code ?? cause.data?.error?.code,
    message: cause.message,
  };
}

const said = await clients[client]().catch(described);
console.log(JSON.stringify(said));
