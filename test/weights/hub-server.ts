/**
 * @file Real servers with a hub's addresses (resolve, tree, revisions), and a second origin that large files are redirected
 * to, as hubs redirect to their CDN.
 */
import type { ServerResponse } from 'node:http';
import { type Behaviour, type FileServer, type Request, serve } from './file-server.ts';

export interface HubRepository {
  files: Map<string, Uint8Array>;
  revisions: string[];
  /** Gated: only requests with one of these tokens get files. */
  tokens?: string[];
}

export interface HubBehaviour {
  /** Whether refusals tell their kind in X-Error-Code, as Hugging Face does and mirrors may not; true when not given. */
  codes?: boolean;
  /** In front of every path. */
  prefix?: string;
  style?: 'hf' | 'modelscope';
  headers?: Record<string, string>;
  cdn?: Behaviour;
}

export interface HubServer {
  hub: FileServer;
  cdn: FileServer;
  close(): Promise<void>;
}

const STYLES = {
  hf: {
    resolve: /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/,
    tree: /^\/api\/models\/([^/]+\/[^/]+)\/tree\/([^/?]+)$/,
    listing: (names: string[]) => [
      { type: 'directory', path: 'onnx', size: 0 },
      ...names.map((path) => ({ type: 'file', path, size: 1 })),
    ],
  },
  modelscope: {
    resolve: /^\/models\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/,
    tree: /^\/api\/v1\/models\/([^/]+\/[^/]+)\/repo\/files\?Revision=([^&]+)$/,
    listing: (names: string[]) => ({
      Code: 200,
      Data: { Files: [{ Type: 'tree', Path: 'onnx' }, ...names.map((Path) => ({ Type: 'blob', Path }))] },
    }),
  },
};

export async function serveHub(
  repositories: Record<string, HubRepository>,
  { codes = true, prefix = '', style = 'hf', headers = {}, cdn: cdnBehaviour = {} }: HubBehaviour = {},
): Promise<HubServer> {
  const { resolve, tree, listing } = STYLES[style];
  const stored = new Map<string, Uint8Array>();
  for (const [name, { files }] of Object.entries(repositories)) {
    for (const [file, bytes] of files) stored.set(`${name}/${file}`, bytes);
  }
  const cdn = await serve(stored, cdnBehaviour);

  function answer(request: Request, response: ServerResponse): boolean {
    const refuse = (status: number, code: string) => {
      response.writeHead(status, { ...headers, ...(codes ? { 'X-Error-Code': code } : {}) }).end('no');
      return true;
    };
    if (request.method === 'OPTIONS') {
      response.writeHead(204, { ...headers, 'Access-Control-Allow-Headers': 'authorization, range' }).end();
      return true;
    }
    const path = request.url.startsWith(prefix) ? request.url.slice(prefix.length) : '';
    const [, name, revision, file] = resolve.exec(path) ?? tree.exec(path) ?? [];
    const repository = repositories[name ?? ''];
    const token = request.headers.authorization?.replace(/^Bearer /, '');
    if (!repository) return refuse(codes && token === undefined ? 401 : 404, 'RepoNotFound');
    if (repository.tokens && !repository.tokens.includes(token ?? '')) {
      return refuse(token === undefined ? 401 : 403, 'GatedRepo');
    }
    if (!repository.revisions.includes(decodeURIComponent(revision!))) return refuse(404, 'RevisionNotFound');
    if (file === undefined) {
      response.writeHead(200, { 'Content-Type': 'application/json', ...headers });
      response.end(JSON.stringify(listing([...repository.files.keys()])));
      return true;
    }
    const bytes = repository.files.get(decodeURIComponent(file));
    if (!bytes) return refuse(404, 'EntryNotFound');
    if (file.endsWith('.safetensors')) {
      response.writeHead(302, { Location: `${cdn.url}/${name}/${file}?signature=abc`, ...headers }).end();
    } else response.writeHead(200, { 'Content-Type': 'text/plain', ...headers }).end(bytes);
    return true;
  }

  const hub = await serve(new Map(), { answer });
  return {
    hub,
    cdn,
    async close() {
      await Promise.all([hub.close(), cdn.close()]);
    },
  };
}
