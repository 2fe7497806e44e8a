/**
 * @file Where measurements of kernels stay: in the browser's IndexedDB, so that a page measures once for each adapter, and in
 * memory for this process. Keys and values are text; it does not know what they mean. A store that fails is no store.
 */

export interface TuningStore {
  get(key: string): Promise<string | undefined>;
  put(key: string, value: string): Promise<void>;
}

const DATABASE = 'shaderloom-tuning';
const CHOICES = 'choices';
const memory = new Map<string, string>();

export function openTuningStore(): TuningStore {
  let opened: Promise<IDBDatabase | undefined> | undefined;
  const database = (): Promise<IDBDatabase | undefined> => (opened ??= openDatabase().catch(() => undefined));
  return {
    async get(key) {
      const db = memory.has(key) ? undefined : await database();
      const found =
        db && (await settled(db.transaction(CHOICES).objectStore(CHOICES).get(key)).catch(() => undefined));
      if (typeof found === 'string') memory.set(key, found);
      return memory.get(key);
    },
    async put(key, value) {
      memory.set(key, value);
      const db = await database();
      if (db)
        await settled(db.transaction(CHOICES, 'readwrite').objectStore(CHOICES).put(value, key)).catch(
          () => {},
        );
    },
  };
}

async function openDatabase(): Promise<IDBDatabase | undefined> {
  if (!globalThis.indexedDB) return undefined;
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(CHOICES);
  const db = await settled(request);
  // Someone wants to delete it, or has a later version.
  db.onversionchange = () => db.close();
  return db;
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
