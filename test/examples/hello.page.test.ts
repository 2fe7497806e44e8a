/** @file The smallest example works as it stands. */
import { expect, test } from 'vitest';
import { startPageTest } from '../page.ts';

test('twenty lines of code answer 85', async () => {
  const pages = await startPageTest();
  try {
    const { page, hosts } = await pages.open('/examples/hello/');
    await page.getByText('tokens/s').waitFor({ timeout: 90_000 });
    expect(await page.getByRole('status').textContent()).toMatch(/27 \+ 58 = 85\.\s+[\d.]+ tokens\/s/);
    expect([...hosts]).toEqual([new URL(pages.url).host]);
  } finally {
    await pages.close();
  }
});
