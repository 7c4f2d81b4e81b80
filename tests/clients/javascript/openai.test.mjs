/**
 * The official OpenAI client for JavaScript does its whole job against the reference server.
 */
import assert from 'node:assert/strict';
import test from 'node:test';

import OpenAI, { toFile } from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import * as z from 'zod';

import { all, canary, KEY, LIMITED, ODDITIES, PLAIN, TEXT } from './servers.mjs';

const MODEL = 'gpt-4o-mini';
const make = (path = '/v1', options = {}) =>
  new OpenAI({ baseURL: `${PLAIN}${path}`, apiKey: KEY, maxRetries: 0, timeout: 15_000, ...options });
const client = make();
const retrying = make('/v1', { maxRetries: 2 });
const ask = (content) => [{ role: 'user', content }];
const chat = (content, more = {}) => ({ model: MODEL, messages: ask(content), ...more });

const Weather = z.object({ city: z.string(), days: z.int() });
const Clock = z.object({ zone: z.string() });
const tools = [
  zodFunction({ name: 'weather', parameters: Weather }),
  zodFunction({ name: 'clock', parameters: Clock }),
];
const BOTH = 'Call weather with {"city":"Zürich","days":2} and Call clock with {"zone":"UTC"}';
const callsOf = (message) =>
  (message.tool_calls ?? []).map((call) => [
    call.function.name,
    JSON.parse(call.function.arguments),
  ]);

test('An answer has everything that the types name.', async () => {
  const answer = await client.chat.completions.create(chat('Repeat exactly: Grüße 🙂'));
  const [choice] = answer.choices;
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.model, MODEL);
  assert.deepEqual([choice.index, choice.finish_reason], [0, 'stop']);
  assert.equal(choice.message.content, 'Grüße 🙂');
  assert.equal(choice.message.refusal, null);
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

test('System, user and assistant messages of earlier turns reach the model.', async () => {
  const answer = await client.chat.completions.create({
    model: MODEL,
    messages: [
      { role: 'system', content: 'Remember colour = teal' },
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hello.' },
      { role: 'user', content: [{ type: 'text', text: 'Recall colour' }] },
    ],
  });
  assert.equal(answer.choices[0].message.content, 'teal');
});

test('Choices, stop strings, limits and logprobs do what they say.', async () => {
  const several = await client.chat.completions.create(chat('Tell me more', { n: 3 }));
  const stopped = await client.chat.completions.create(chat('Count from 1 to 9', { stop: '5' }));
  const cut = await client.chat.completions.create(
    chat('Count from 1 to 900', { max_completion_tokens: 5 }),
  );
  const logged = await client.chat.completions.create(
    chat('Repeat exactly: one two', { logprobs: true, top_logprobs: 2 }),
  );
  assert.deepEqual(several.choices.map((choice) => choice.index), [0, 1, 2]);
  assert.equal(stopped.choices[0].message.content, '1, 2, 3, 4, ');
  assert.deepEqual([cut.choices[0].finish_reason, cut.usage.completion_tokens], ['length', 5]);
  const tokens = logged.choices[0].logprobs.content;
  assert.equal(tokens.map((token) => token.token).join(''), 'one two');
});

test('An answer carries the id that the server gave the request.', async () => {
  const seen = canary();
  const { data, response, request_id } = await client.chat.completions
    .create(chat('Hi'), { headers: seen.headers })
    .withResponse();
  const [entry] = await seen.entries();
  assert.equal(data._request_id, entry.id);
  assert.equal(request_id, entry.id);
  assert.equal(response.headers.get('x-request-id'), entry.id);
});

test('Fifty answers at once are each the right one.', async () => {
  const numbers = [...Array(50).keys()];
  const answers = await Promise.all(
    numbers.map((n) => client.chat.completions.create(chat(`Repeat exactly: answer ${n}`))),
  );
  assert.deepEqual(
    answers.map((answer) => answer.choices[0].message.content),
    numbers.map((n) => `answer ${n}`),
  );
});

for (const [path, model] of [
  ['/osmapi/v1', 'openai/gpt-4o-mini'],
  ['/losi/api/v1', 'losi-omega'],
  ['/lunos/v1', 'openai/gpt-4o-mini'],
  ['/omai/v1', 'omai-gpt-4'],
]) {
  test(`This client can be used at ${path}, streamed or not.`, async () => {
    const vendor = make(path);
    const wanted = { model, messages: ask('Repeat exactly: a b c') };
    const whole = await vendor.chat.completions.create(wanted);
    const chunks = await all(await vendor.chat.completions.create({ ...wanted, stream: true }));
    const told = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');
    assert.deepEqual([whole.choices[0].message.content, told], ['a b c', 'a b c']);
  });
}

test("A stream's text, end and usage are those of the answer that is not streamed.", async () => {
  const whole = await client.chat.completions.create(chat('Tell me a story'));
  const chunks = await all(
    await client.chat.completions.create(
      chat('Tell me a story', { stream: true, stream_options: { include_usage: true } }),
    ),
  );
  const last = chunks.pop();
  const told = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
  assert.equal(told, whole.choices[0].message.content);
  assert.deepEqual(last.choices, []);
  assert.deepEqual(last.usage, whole.usage);
});

test("The client's accumulator ends with the whole answer.", async () => {
  const whole = await client.chat.completions.create(chat('Tell me a story', { n: 2 }));
  const stream = client.chat.completions.stream(chat('Tell me a story', { n: 2 }));
  const final = await stream.finalChatCompletion();
  assert.deepEqual(
    final.choices.map((choice) => [choice.message.content, choice.finish_reason]),
    whole.choices.map((choice) => [choice.message.content, choice.finish_reason]),
  );
});

test('A client that closes a stream early is not served any longer.', async () => {
  const seen = canary();
  const stream = await client.chat.completions.create(
    chat('Go on', { model: `${MODEL}+tokens=500+itl=20`, stream: true }),
    { headers: seen.headers },
  );
  for await (const chunk of stream) {
    assert.ok(chunk);
    break;
  }
  assert.equal(await seen.outcome('cancelled'), 'cancelled');
});

test('An error that comes after some tokens is raised with what it says.', async () => {
  const wanted = chat('Hi', { model: `${MODEL}+midstream-error=3`, stream: true });
  await assert.rejects(async () => all(await client.chat.completions.create(wanted)), (error) => {
    assert.ok(error instanceof OpenAI.APIError);
    assert.ok(error.message);
    return true;
  });
});

test('A connection that ends in mid-stream is not taken for its end.', async () => {
  const wanted = chat('Hi', { model: `${MODEL}+cut=3`, stream: true });
  await assert.rejects(async () => all(await client.chat.completions.create(wanted)));
});

for (const [name, tool_choice, text, names] of [
  ['required', 'required', 'Hello', ['weather']],
  ['a function', { type: 'function', function: { name: 'clock' } }, 'Hello', ['clock']],
  ['auto', 'auto', BOTH, ['weather', 'clock']],
  ['auto without need', 'auto', 'Hello', []],
  ['none', 'none', BOTH, []],
]) {
  test(`The tool choice ${name} is obeyed.`, async () => {
    const answer = await client.chat.completions.create(chat(text, { tools, tool_choice }));
    assert.deepEqual(callsOf(answer.choices[0].message).map(([called]) => called), names);
  });
}

test('Calls go back with their results and are answered.', async () => {
  const asked = await client.chat.completions.create(chat(BOTH, { tools }));
  const { message } = asked.choices[0];
  const results = message.tool_calls.map((call, n) => ({
    role: 'tool',
    tool_call_id: call.id,
    content: `result ${n}`,
  }));
  const answer = await client.chat.completions.create({
    model: MODEL,
    messages: [...ask(BOTH), message, ...results],
    tools,
  });
  assert.match(answer.choices[0].message.content, /result 0.*result 1/);
});

test("Parallel calls of a stream are joined and parsed by the client's accumulator.", async () => {
  const stream = client.chat.completions.stream(chat(BOTH, { tools }));
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  assert.deepEqual(
    message.tool_calls.map((call) => call.function.parsed_arguments),
    [{ city: 'Zürich', days: 2 }, { zone: 'UTC' }],
  );
  assert.equal(finish_reason, 'tool_calls');
});

for (const stream of [false, true]) {
  test(`The client runs a tool by itself, ${stream ? 'streamed' : 'whole'}.`, async () => {
    const ran = [];
    const weather = (given) => {
      ran.push(given);
      return 'sunny';
    };
    const runner = client.chat.completions.runTools({
      ...chat('Call weather with {"city":"Ulm","days":1}'),
      stream,
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            function: weather,
            parse: JSON.parse,
            parameters: z.toJSONSchema(Weather),
          },
        },
      ],
    });
    const content = await runner.finalContent();
    assert.deepEqual(ran, [{ city: 'Ulm', days: 1 }]);
    assert.match(content, /sunny/);
  });
}

const Thing = z.object({
  title: z.string(),
  size: z.enum(['small', 'large']),
  parts: z.array(z.object({ name: z.string(), weight: z.number() })),
  spare: z.object({ name: z.string() }).nullable(),
});

test('An answer that keeps to a strict schema is parsed, whole and streamed.', async () => {
  const wanted = chat('Describe', { response_format: zodResponseFormat(Thing, 'thing') });
  const whole = await client.chat.completions.parse(wanted);
  const streamed = await client.chat.completions.stream(wanted).finalChatCompletion();
  const { parsed } = whole.choices[0].message;
  assert.deepEqual(Thing.parse(parsed), parsed);
  assert.deepEqual(streamed.choices[0].message.parsed, parsed);
});

test('An answer that a limit or a filter has ended is not parsed but raised as such.', async () => {
  const wanted = chat('Describe', { response_format: zodResponseFormat(Thing, 'thing') });
  await assert.rejects(
    client.chat.completions.parse({ ...wanted, max_tokens: 2 }),
    OpenAI.LengthFinishReasonError ?? /length/,
  );
  await assert.rejects(
    client.chat.completions.parse({ ...wanted, model: `${MODEL}+finish=content_filter` }),
    OpenAI.ContentFilterFinishReasonError ?? /content filter/,
  );
});

test('Embeddings are asked for in base64 by default, and hold the same numbers.', async () => {
  const seen = canary();
  const model = 'text-embedding-3-small';
  const packed = await client.embeddings.create(
    { model, input: ['harbour', 'lamp'] },
    { headers: seen.headers },
  );
  const plain = await client.embeddings.create({ model, input: 'lamp', encoding_format: 'float' });
  const [entry] = await seen.entries();
  assert.equal(JSON.parse(entry.body).encoding_format, 'base64');
  assert.deepEqual(packed.data.map((item) => item.index), [0, 1]);
  const [lamp, again] = [packed.data[1].embedding, plain.data[0].embedding];
  assert.equal(lamp.length, 1536);
  assert.ok(lamp.every((value, place) => Math.abs(value - again[place]) < 1e-7));
});

test('Images come as real PNGs, in base64 and by URL.', async () => {
  const model = 'dall-e-2';
  const packed = await client.images.generate({
    model, prompt: 'a harbour', n: 2, response_format: 'b64_json',
  });
  const linked = await client.images.generate({ model, prompt: 'a harbour' });
  const file = await fetch(linked.data[0].url);
  const images = [
    ...packed.data.map((image) => Buffer.from(image.b64_json, 'base64')),
    Buffer.from(await file.arrayBuffer()),
  ];
  assert.equal(images.length, 3);
  for (const image of images) assert.equal(image.toString('latin1', 0, 8), '\x89PNG\r\n\x1a\n');
});

test('What was spoken is transcribed, in each form.', async () => {
  const input = 'The harbour was quiet before the first boats came in.';
  const speech = await client.audio.speech.create({
    model: 'tts-1', voice: 'alloy', input, response_format: 'wav',
  });
  const bytes = Buffer.from(await speech.arrayBuffer());
  const file = () => toFile(bytes, 'speech.wav', { type: 'audio/wav' });
  const create = async (more) =>
    client.audio.transcriptions.create({ model: 'whisper-1', file: await file(), ...more });
  assert.equal((await create({})).text, input);
  assert.match(await create({ response_format: 'text' }), /^The harbour/);
  assert.match(await create({ response_format: 'srt' }), /^1\r?\n00:00:00,000 --> /);
  assert.match(await create({ response_format: 'vtt' }), /^WEBVTT/);
  const timed = await create({
    response_format: 'verbose_json',
    timestamp_granularities: ['word', 'segment'],
  });
  assert.deepEqual(timed.words.slice(0, 2).map((word) => word.word), ['The', 'harbour']);
  assert.equal(timed.segments[0].start, 0);
  const events = await all(await create({ model: 'gpt-4o-mini-transcribe', stream: true }));
  assert.equal(events.at(-1).text, input);
});

test('Text completions answer prompts, whole and streamed.', async () => {
  const wanted = { model: 'gpt-3.5-turbo-instruct', prompt: 'Repeat exactly: a b c' };
  const whole = await client.completions.create(wanted);
  const chunks = await all(await client.completions.create({ ...wanted, stream: true }));
  const told = chunks.map((chunk) => chunk.choices[0]?.text ?? '').join('');
  assert.deepEqual([whole.choices[0].text, told], ['a b c', 'a b c']);
});

test('Each model of the list can be retrieved, those with a slash too.', async () => {
  const models = await all(await client.models.list());
  const again = await Promise.all(models.map((model) => client.models.retrieve(model.id)));
  assert.deepEqual(again.map((model) => model.id), models.map((model) => model.id));
  assert.ok(models.some((model) => model.id.includes('/')));
});

for (const [status, wanted] of [
  [400, OpenAI.BadRequestError],
  [401, OpenAI.AuthenticationError],
  [403, OpenAI.PermissionDeniedError],
  [404, OpenAI.NotFoundError],
  [409, OpenAI.ConflictError],
  [422, OpenAI.UnprocessableEntityError],
  [429, OpenAI.RateLimitError],
  [500, OpenAI.InternalServerError],
  [503, OpenAI.InternalServerError],
]) {
  for (const stream of [false, true]) {
    test(`Status ${status} raises its class, ${stream ? 'streamed' : 'whole'}.`, async () => {
      const seen = canary();
      const request = chat('Hi', { model: `${MODEL}+status=${status}`, stream });
      await assert.rejects(
        client.chat.completions.create(request, { headers: seen.headers }),
        (error) => {
          assert.ok(error instanceof wanted);
          assert.equal(error.status, status);
          assert.ok(error.error.message);
          assert.equal(typeof error.type, 'string');
          assert.match(error.requestID, /^req_/);
          return true;
        },
      );
      assert.equal((await seen.entries()).length, 1);
    });
  }
}

test('A request that breaks a rule is refused with the field that breaks it.', async () => {
  await assert.rejects(client.chat.completions.create(chat('Hi', { temperature: 3 })), {
    status: 400,
    param: 'temperature',
    type: 'invalid_request_error',
  });
  await assert.rejects(make('/v1', { apiKey: 'sk-wrong' }).models.list(), {
    code: 'invalid_api_key',
  });
});

test('After a real 429 the client waits for Retry-After, and its next try succeeds.', async () => {
  const seen = canary(LIMITED);
  const limited = new OpenAI({
    baseURL: `${LIMITED}/v1`, apiKey: KEY, timeout: 15_000, defaultHeaders: seen.headers,
  });
  await limited.models.list();
  const stream = await limited.chat.completions.create(
    chat('Repeat exactly: done', { stream: true }),
  );
  const chunks = await all(stream);
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), 'done');
  const entries = await seen.entries();
  assert.deepEqual(entries.map((entry) => entry.status), [200, 429, 200]);
  assert.ok(entries[2].at_ns - entries[1].at_ns >= 0.9e9); // at least 1 s was asked for
});

for (const [status, times] of [[408, 3], [409, 3], [429, 3], [500, 3], [400, 1], [404, 1]]) {
  test(`Status ${status} is tried ${times === 1 ? 'once' : `${times} times`}.`, async () => {
    const seen = canary();
    const request = chat('Hi', { model: `${MODEL}+status=${status}:0` });
    const options = { headers: seen.headers };
    await assert.rejects(retrying.chat.completions.create(request, options), { status });
    assert.equal((await seen.entries()).length, times);
  });
}

test('No answer is a connection error, and a late one a timeout.', async () => {
  await assert.rejects(make('/with/no-answer/v1').models.list(), OpenAI.APIConnectionError);
  await assert.rejects(
    make('/v1', { timeout: 200 }).chat.completions.create(
      chat('Hi', { model: `${MODEL}+slow-headers=5000` }),
    ),
    OpenAI.APIConnectionTimeoutError,
  );
});

const PROFILES = {
  '/openai/v1': MODEL,
  '/osmapi/v1': 'openai/gpt-4o-mini',
  '/losi/api/v1': 'losi-omega',
  '/lunos/v1': 'openai/gpt-4o-mini',
  '/omai/v1': 'omai-gpt-4',
};

/** Return what a user of the client sees: of OpenAI each kind of answer, of others some. */
async function observe(odd, path, model) {
  const seen = {};
  const told = (completion) => [
    ...completion.choices.map(({ index, finish_reason, message }) => [
      index, finish_reason, message.role, message.content, callsOf(message),
    ]),
    completion.usage?.total_tokens,
  ];
  const usage = { stream_options: { include_usage: true } };
  const text = chat(`Repeat exactly: ${TEXT}`, { model });
  const requests = { text };
  if (path === '/openai/v1') {
    Object.assign(requests, { calls: chat(BOTH, { tools }), two: chat('Go on', { n: 2 }) });
  }
  for (const [name, request] of Object.entries(requests)) {
    seen[name] = told(await odd.chat.completions.create(request));
    const stream = odd.chat.completions.stream({ ...request, ...usage });
    seen[`${name} stream`] = told(await stream.finalChatCompletion());
  }
  await assert.rejects(odd.chat.completions.create({ ...text, model: 'none' }), (error) => {
    seen.error = [error.status, error.code, error.type, error.error.message];
    return true;
  });
  if (path !== '/openai/v1') return seen;
  const logged = await all(
    await odd.chat.completions.create({ ...text, logprobs: true, stream: true }),
  );
  seen.logprobs = logged.flatMap((chunk) =>
    (chunk.choices[0]?.logprobs?.content ?? []).map((token) => token.token),
  );
  seen.models = (await all(await odd.models.list())).map((listed) => listed.id);
  const wanted = { model: 'text-embedding-3-small', input: ['a', 'b'] };
  const embedded = await odd.embeddings.create(wanted);
  seen.embeddings = embedded.data.map((item) => [...item.embedding.slice(0, 4)]);
  return seen;
}

for (const [path, model] of Object.entries(PROFILES)) {
  let healthy;
  for (const oddity of ODDITIES) {
    test(`Under the oddity ${oddity} at ${path} nothing changes for the client.`, async () => {
      healthy ??= await observe(make(path), path, model);
      assert.deepEqual(await observe(make(`/with/${oddity}${path}`), path, model), healthy);
    });
  }
}
