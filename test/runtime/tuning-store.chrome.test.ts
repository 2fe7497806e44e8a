/** Choices of kernels stay in the browser, for the next page. */
import { expect, it } from 'vitest';
import { openTuningStore } from '../../src/runtime/examine/tuning-store.ts';

/** The store's own database, as another page sees it. */
async function choices(mode: IDBTransactionMode): Promise<IDBObjectStore> {
  const db = await settled(indexedDB.open('shaderloom-tuning'));
  return db.transaction('choices', mode).objectStore('choices');
}

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

it('keeps a choice where the next page finds it, and finds what another page has kept', async () => {
  const store = openTuningStore();
  expect(await store.get('adapter shape')).toBeUndefined();
  await store.put('adapter shape', 'matvec');
  expect(await store.get('adapter shape')).toBe('matvec');
  expect(await settled((await choices('readonly')).get('adapter shape'))).toBe('matvec');
  await settled((await choices('readwrite')).put('matvec-waves', 'other adapter'));
  expect(await openTuningStore().get('other adapter')).toBe('matvec-waves');
});
