/**
 * The official Anthropic client for JavaScript does its whole job against the reference server.
 */
import assert from 'node:assert/strict';
import test from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import * as z from 'zod';

import { all, canary, KEY, LIMITED, ODDITIES, PLAIN, TEXT } from './servers.mjs';

const MODEL = 'claude-sonnet-4-6';
const make = (path = '/anthropic', options = {}) =>
  new Anthropic({ baseURL: `${PLAIN}${path}`, apiKey: KEY, maxRetries: 0, timeout: 15_000, ...options });
const client = make();
const retrying = make('/anthropic', { maxRetries: 2 });
const ask = (content, more = {}) => ({
  model: MODEL,
  max_tokens: 2000,
  messages: [{ role: 'user', content }],
  ...more,
});
const tools = [
  {
    name: 'weather',
    description: 'Tell the weather of a city.',
    input_schema: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' } },
      required: ['city', 'days'],
    },
  },
  { name: 'clock', input_schema: { type: 'object', properties: { zone: { type: 'string' } } } },
];
const BOTH = 'Call weather with {"city":"Zürich","days":2} and Call clock with {"zone":"UTC"}';
const usesOf = (answer) =>
  answer.content
    .filter((block) => block.type === 'tool_use')
    .map((block) => [block.name, block.input]);

test('An answer has everything that the types name.', async () => {
  const answer = await client.messages.create(ask('Repeat exactly: Grüße 🙂'));
  assert.deepEqual(
    [answer.type, answer.role, answer.model, answer.stop_reason, answer.stop_sequence],
    ['message', 'assistant', MODEL, 'end_turn', null],
  );
  assert.deepEqual(answer.content, [{ type: 'text', text: 'Grüße 🙂' }]);
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
});

test("The server serves the client's own way to send its key and version.", async () => {
  const seen = canary();
  const answer = await client.messages.create(ask('Hi'), { headers: seen.headers });
  const [entry] = await seen.entries();
  const headers = Object.fromEntries(entry.headers);
  const sent = 'x-api-key' in headers ? 'x-api-key' : 'bearer';
  const wanted = { '2023-06-01': 'x-api-key', '2026-10-21': 'bearer' };
  assert.equal(sent, wanted[headers['anthropic-version']]);
  assert.equal(answer._request_id, entry.id);
});

test('System texts and earlier turns reach the model.', async () => {
  const answer = await client.messages.create({
    model: MODEL,
    max_tokens: 50,
    system: [{ type: 'text', text: 'Remember colour = teal' }],
    messages: [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hello.' },
      { role: 'user', content: [{ type: 'text', text: 'Recall colour' }] },
    ],
  });
  assert.equal(answer.content[0].text, 'teal');
});

test('Stop sequences and token limits end an answer and say so.', async () => {
  const stopped = await client.messages.create(ask('Count from 1 to 9', { stop_sequences: ['5'] }));
  const cut = await client.messages.create(ask('Count from 1 to 900', { max_tokens: 5 }));
  assert.deepEqual(
    [stopped.content[0].text, stopped.stop_reason, stopped.stop_sequence],
    ['1, 2, 3, 4, ', 'stop_sequence', '5'],
  );
  assert.deepEqual([cut.stop_reason, cut.usage.output_tokens], ['max_tokens', 5]);
});

test('A stream ends with the answer that is not streamed.', async () => {
  const whole = await client.messages.create(ask('Tell me a story'));
  let told = '';
  const stream = client.messages.stream(ask('Tell me a story')).on('text', (text) => {
    told += text;
  });
  const final = await stream.finalMessage();
  assert.equal(told, whole.content[0].text);
  assert.deepEqual(final.content, whole.content);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  assert.equal(final.stop_reason, whole.stop_reason);
});

test('Events are a message with one block, from its start to its stop.', async () => {
  const events = await all(
    await client.messages.create(ask('Repeat exactly: a b c', { stream: true })),
  );
  assert.deepEqual(
    events.map((event) => event.type).filter((type) => type !== 'content_block_delta'),
    ['message_start', 'content_block_start', 'content_block_stop', 'message_delta', 'message_stop'],
  );
});

test('Thoughts come in a block of their own, sealed, and may be sent back.', async () => {
  const thinking = { type: 'enabled', budget_tokens: 1024 };
  const first = await client.messages.stream(ask('Repeat exactly: x', { thinking })).finalMessage();
  const second = await client.messages.create({
    ...ask('', { thinking }),
    messages: [
      { role: 'user', content: 'Repeat exactly: x' },
      { role: 'assistant', content: first.content },
      { role: 'user', content: 'Repeat exactly: y' },
    ],
  });
  assert.deepEqual(first.content.map((block) => block.type), ['thinking', 'text']);
  assert.ok(first.content[0].signature);
  assert.equal(second.content.at(-1).text, 'y');
});

test('A client that closes a stream early is not served any longer.', async () => {
  const seen = canary();
  const request = ask('Go on', { model: `${MODEL}+tokens=500+itl=20`, stream: true });
  const stream = await client.messages.create(request, { headers: seen.headers });
  for await (const event of stream) {
    if (event.type === 'content_block_delta') break;
  }
  assert.equal(await seen.outcome('cancelled'), 'cancelled');
});

test('An error event after some tokens is raised with what it says.', async () => {
  const request = ask('Hi', { model: `${MODEL}+midstream-error=3` });
  await assert.rejects(client.messages.stream(request).finalMessage(), (error) => {
    assert.ok(error instanceof Anthropic.APIError);
    assert.ok(error.error.error.message);
    return true;
  });
});

test('A connection that ends in mid-stream is not taken for its end.', async () => {
  const request = ask('Hi', { model: `${MODEL}+cut=3` });
  await assert.rejects(client.messages.stream(request).finalMessage());
});

for (const [name, tool_choice, text, names] of [
  ['auto', { type: 'auto' }, BOTH, ['weather', 'clock']],
  ['auto without need', { type: 'auto' }, 'Hello', []],
  ['auto, one', { type: 'auto', disable_parallel_tool_use: true }, BOTH, ['weather']],
  ['any', { type: 'any' }, 'Hello', ['weather']],
  ['tool', { type: 'tool', name: 'clock' }, 'Hello', ['clock']],
  ['none', { type: 'none' }, BOTH, []],
]) {
  test(`The tool choice ${name} is obeyed, whole and streamed.`, async () => {
    const request = ask(text, { tools, tool_choice });
    const whole = await client.messages.create(request);
    const streamed = await client.messages.stream(request).finalMessage();
    assert.deepEqual(usesOf(whole).map(([used]) => used), names);
    assert.deepEqual(usesOf(streamed), usesOf(whole));
    assert.equal(whole.stop_reason, names.length ? 'tool_use' : 'end_turn');
  });
}

test('Uses go back with their results and are answered.', async () => {
  const asked = await client.messages.create(ask(BOTH, { tools }));
  const results = asked.content.map((block, n) => ({
    type: 'tool_result',
    tool_use_id: block.id,
    content: `result ${n}`,
  }));
  const answer = await client.messages.create({
    model: MODEL,
    max_tokens: 500,
    tools,
    messages: [
      { role: 'user', content: BOTH },
      { role: 'assistant', content: asked.content },
      { role: 'user', content: results },
    ],
  });
  assert.match(answer.content[0].text, /result 0.*result 1/);
});

for (const stream of [false, true]) {
  test(`The client runs a tool by itself, ${stream ? 'streamed' : 'whole'}.`, async () => {
    const ran = [];
    const weather = betaZodTool({
      name: 'weather',
      description: 'Tell the weather of a city.',
      inputSchema: z.object({ city: z.string(), days: z.int() }),
      run: (given) => {
        ran.push(given);
        return 'sunny';
      },
    });
    const runner = client.beta.messages.toolRunner({
      ...ask('Call weather with {"city":"Ulm","days":1}'),
      tools: [weather],
      stream,
    });
    const answer = await runner.runUntilDone();
    assert.deepEqual(ran, [{ city: 'Ulm', days: 1 }]);
    assert.match(answer.content[0].text, /sunny/);
  });
}

test('An answer that keeps to a schema is parsed, whole and streamed.', async () => {
  const Thing = z.object({
    title: z.string(),
    parts: z.array(z.object({ name: z.string(), weight: z.number() })),
    spare: z.string().nullable(),
  });
  const request = ask('Describe a thing', { output_config: { format: zodOutputFormat(Thing) } });
  const whole = await client.messages.parse(request);
  const streamed = await client.messages.stream(request).finalMessage();
  assert.deepEqual(Thing.parse(whole.parsed_output), whole.parsed_output);
  assert.deepEqual(JSON.parse(streamed.content[0].text), whole.parsed_output);
});

test('What is counted before is what an answer has as input.', async () => {
  const { max_tokens, ...request } = ask('How long is this?', { system: 'Be brief.' });
  const answer = await client.messages.create({ ...request, max_tokens });
  const count = await client.messages.countTokens(request);
  assert.equal(count.input_tokens, answer.usage.input_tokens);
});

test('The list of models is followed page by page, and each can be retrieved.', async () => {
  const models = await all(client.models.list({ limit: 1 }));
  const again = await Promise.all(models.map((model) => client.models.retrieve(model.id)));
  assert.ok(models.length >= 2);
  assert.deepEqual(again.map((model) => model.id), models.map((model) => model.id));
});

for (const vendor of ['lunos', 'osmapi']) {
  test(`This client can be used at ${vendor} as it is, streamed or not.`, async () => {
    const gateway = make(`/${vendor}`);
    const request = ask('Repeat exactly: a b c', { model: 'anthropic/claude-sonnet-4-6' });
    const whole = await gateway.messages.create(request);
    const streamed = await gateway.messages.stream(request).finalMessage();
    assert.deepEqual([whole.content[0].text, streamed.content[0].text], ['a b c', 'a b c']);
  });
}

for (const [status, type, wanted] of [
  [400, 'invalid_request_error', Anthropic.BadRequestError],
  [401, 'authentication_error', Anthropic.AuthenticationError],
  [402, 'billing_error', Anthropic.APIError],
  [403, 'permission_error', Anthropic.PermissionDeniedError],
  [404, 'not_found_error', Anthropic.NotFoundError],
  [413, 'request_too_large', Anthropic.APIError],
  [429, 'rate_limit_error', Anthropic.RateLimitError],
  [500, 'api_error', Anthropic.InternalServerError],
  [529, 'overloaded_error', Anthropic.InternalServerError],
]) {
  for (const stream of [false, true]) {
    test(`Status ${status} raises its class, ${stream ? 'streamed' : 'whole'}.`, async () => {
      const seen = canary();
      const request = ask('Hi', { model: `${MODEL}+status=${status}`, stream });
      await assert.rejects(
        client.messages.create(request, { headers: seen.headers }),
        (error) => {
          assert.ok(error instanceof wanted);
          assert.equal(error.status, status);
          assert.deepEqual([error.error.type, error.error.error.type], ['error', type]);
          assert.equal(error.requestID, error.error.request_id);
          return true;
        },
      );
      const [entry] = await seen.entries();
      assert.equal(entry.status, status);
    });
  }
}

test('A wrong key, model or field is told as such.', async () => {
  await assert.rejects(
    make('/anthropic', { apiKey: 'sk-wrong' }).messages.create(ask('Hi')),
    Anthropic.AuthenticationError,
  );
  await assert.rejects(
    client.messages.create(ask('Hi', { model: 'none' })),
    Anthropic.NotFoundError,
  );
  await assert.rejects(client.messages.create(ask('Hi', { max_tokens: -1 })), /max_tokens/);
});

test('After a real 429 the client waits for Retry-After, and its next try succeeds.', async () => {
  const seen = canary(LIMITED);
  const limited = new Anthropic({
    baseURL: `${LIMITED}/anthropic`, apiKey: KEY, timeout: 15_000, defaultHeaders: seen.headers,
  });
  await all(limited.models.list());
  const answer = await limited.messages.create(ask('Repeat exactly: done'));
  assert.equal(answer.content[0].text, 'done');
  const entries = await seen.entries();
  assert.deepEqual(entries.map((entry) => entry.status), [200, 429, 200]);
  assert.ok(entries[2].at_ns - entries[1].at_ns >= 0.9e9); // at least 1 s was asked for
});

for (const [status, times] of [[408, 3], [409, 3], [429, 3], [529, 3], [400, 1], [413, 1]]) {
  test(`Status ${status} is tried ${times === 1 ? 'once' : `${times} times`}.`, async () => {
    const seen = canary();
    const request = ask('Hi', { model: `${MODEL}+status=${status}:0` });
    const options = { headers: seen.headers };
    await assert.rejects(retrying.messages.create(request, options), { status });
    assert.equal((await seen.entries()).length, times);
  });
}

test('No answer is a connection error, and a late one a timeout.', async () => {
  await assert.rejects(
    make('/with/no-answer/anthropic').messages.create(ask('Hi')),
    Anthropic.APIConnectionError,
  );
  await assert.rejects(
    make('/anthropic', { timeout: 200 }).messages.create(
      ask('Hi', { model: `${MODEL}+slow-headers=5000` }),
    ),
    Anthropic.APIConnectionTimeoutError,
  );
});

/** Return what a user of the client sees in each kind of answer. */
async function observe(odd) {
  const seen = {};
  // A user reads texts and uses; blocks that are empty, or of a type not known, he passes over.
  const told = (message) => [
    message.content.map((block) => block.text ?? '').join(''),
    usesOf(message),
    message.role,
    message.stop_reason,
    message.usage.output_tokens,
  ];
  const requests = { text: ask(`Repeat exactly: ${TEXT}`), uses: ask(BOTH, { tools }) };
  for (const [name, request] of Object.entries(requests)) {
    seen[name] = told(await odd.messages.create(request));
    seen[`${name} stream`] = told(await odd.messages.stream(request).finalMessage());
  }
  seen.models = (await all(odd.models.list())).map((model) => model.id);
  await assert.rejects(odd.messages.create(ask('Hi', { model: 'none' })), (error) => {
    const { type, message } = error.error.error;
    seen.error = [error.status, type, message];
    return true;
  });
  return seen;
}

let healthy;
for (const oddity of ODDITIES) {
  test(`Under the oddity ${oddity} nothing changes for the client.`, async () => {
    healthy ??= await observe(client);
    assert.deepEqual(await observe(make(`/with/${oddity}/anthropic`)), healthy);
  });
}
