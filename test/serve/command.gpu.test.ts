/** The command `shaderloom serve` with clients that apps use already, over HTTP and in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testClients } from '../openai/sdk-suite.ts';
import { MODEL } from '../openai/tiny-engine.ts';

const root = new URL('../../', import.meta.url).pathname;
let server: ChildProcess;
let baseURL: string;
let printed = '';

/** Resolves when the command has printed something of this form. */
async function line(form: RegExp): Promise<RegExpMatchArray> {
  for (;;) {
    const found = printed.match(form);
    if (found) return found;
    if (server.exitCode !== null) throw new Error(`the command has ended: ${printed}`);
    await Promise.race([once(server.stdout!, 'data'), once(server.stderr!, 'data'), once(server, 'exit')]);
  }
}

beforeAll(async () => {
  const command = ['scripts/run.mjs', 'src/cli/main.ts', 'serve', `examples/models/${MODEL}`];
  server = spawn(process.execPath, [...command, '--port', '0', '--context', '640'], { cwd: root });
  for (const output of [server.stdout!, server.stderr!]) {
    output.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
  }
  baseURL = (await line(/answers at (http:\S+)/))[1]!;
});
afterAll(() => {
  server.kill('SIGKILL');
});

describe('shaderloom serve', () => {
  testClients(() => ({ baseURL, fetch: globalThis.fetch }));

  it('listens on this computer alone, and tells of every request', async () => {
    expect(baseURL).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1$/);
    await fetch(`${baseURL}/nothing`);
    await line(/GET \/v1\/nothing 404 \d+ ms/);
  });

  it('finishes what it writes when it is told to end, and then ends well', async () => {
    const answer = fetch(`${baseURL}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        temperature: 0,
        messages: [{ role: 'user', content: 'What is 27 + 58?' }],
        stream: true,
      }),
    });
    const response = await answer;
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    expect(await response.text()).toMatch(/data: \[DONE\]\n\n$/);
    expect(await ended).toEqual([0, null]);
  });
});
