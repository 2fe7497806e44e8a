import { afterAll, beforeAll, expect, test } from 'vitest';
import { type PageTest, startPageTest } from '../page.ts';

let pages: PageTest;
beforeAll(async () => {
  pages = await startPageTest();
});
afterAll(() => pages.close());

test('the address that npm start prints leads to the chat page', async () => {
  const { page, errors } = await pages.open('/');
  expect(new URL(page.url()).pathname).toBe('/examples/chat/');
  expect(await page.title()).toContain('Shaderloom');
  expect(errors).toEqual([]);
});

test('the address keeps its query, so that debug flags work on the front page', async () => {
  const { page } = await pages.open('/?debug=plan');
  expect(new URL(page.url()).search).toBe('?debug=plan');
});

test('a file that is not there is a 404, not a page', async () => {
  const response = await fetch(new URL('/test/fixtures/nothing.safetensors', pages.url));
  expect(response.status).toBe(404);
});
