"""The governed call: identify, hold, forward, meter, settle. `middleware` is the story."""
