/** Clients that apps use already, with an engine for their `fetch`: in Node and in a page. */
import { afterAll, beforeAll } from 'vitest';
import type { Engine } from '../../src/index.ts';
import { testClients } from './sdk-suite.ts';
import { openTinyEngine } from './tiny-engine.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openTinyEngine();
});
afterAll(() => engine.dispose());

testClients(() => ({ baseURL: 'http://localhost/v1', fetch: engine.fetch }));
