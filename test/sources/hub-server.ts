/**
 * @file Real servers with a hub's addresses (resolve, tree, revisions), and a second origin that large files are redirected
 * to, as hubs redirect to their CDN.
 */
import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { type Behaviour, type FileServer, type Request, serve } from './file-server.ts';

type Files = Map<string, Uint8Array>;

export interface HubRepository {
  files: Files;
  /** Branches, tags and commits that it has besides `commits`. */
  revisions: string[];
  /** Files of other commits than the one that `revisions` are; may change while the server runs, as `branches` may. */
  commits?: Record<string, Files>;
  branches?: Record<string, string>;
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
  /** Of what is not refused. */
  hub?: Behaviour;
  cdn?: Behaviour;
}

export interface HubServer {
  hub: FileServer;
  cdn: FileServer;
  close(): Promise<void>;
}

/** Files that the hub keeps elsewhere and lists with their sha256, as it does with large ones. */
const isLarge = (name: string) => name.endsWith('.safetensors');

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const blobSha1 = (bytes: Uint8Array) =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

/** The commit of a repository that names none. */
export function commitOf(files: Files): string {
  const hash = createHash('sha1');
  for (const [name, bytes] of files) hash.update(`${name} ${sha256(bytes)}\n`);
  return hash.digest('hex');
}

const STYLES = {
  hf: {
    resolve: /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/,
    tree: /^\/api\/models\/([^/]+\/[^/]+)\/tree\/([^/?]+)(?:\?recursive=true)?$/,
    revision: /^\/api\/models\/([^/]+\/[^/]+)\/revision\/([^/?]+)$/,
    listing: (files: Files): unknown => [
      { type: 'directory', path: 'onnx', size: 0 },
      ...[...files].map(([path, bytes]) => {
        const entry = { type: 'file', path, size: bytes.length, oid: blobSha1(bytes) };
        if (!isLarge(path)) return entry;
        const lfs = { oid: sha256(bytes), size: bytes.length, pointerSize: 135 };
        return { ...entry, oid: blobSha1(new TextEncoder().encode(lfs.oid)), lfs };
      }),
    ],
  },
  modelscope: {
    resolve: /^\/models\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/,
    tree: /^\/api\/v1\/models\/([^/]+\/[^/]+)\/repo\/files\?Revision=([^&]+)(?:&Recursive=true)?$/,
    revision: /^\0$/,
    listing: (files: Files): unknown => ({
      Code: 200,
      Data: {
        Files: [
          { Type: 'tree', Path: 'onnx' },
          ...[...files].map(([Path, bytes]) => ({
            Type: 'blob',
            Path,
            Size: bytes.length,
            Sha256: sha256(bytes),
          })),
        ],
      },
    }),
  },
};

export async function serveHub(
  repositories: Record<string, HubRepository>,
  {
    codes = true,
    prefix = '',
    style = 'hf',
    headers = {},
    hub: hubBehaviour = {},
    cdn: cdnBehaviour = {},
  }: HubBehaviour = {},
): Promise<HubServer> {
  const { resolve, tree, revision: revisionPath, listing } = STYLES[style];

  function filesAt({ files, revisions, commits = {}, branches = {} }: HubRepository, revision: string) {
    const commit = branches[revision] ?? revision;
    const found = commits[commit];
    if (found) return { commit, files: found };
    const own = commitOf(files);
    return revisions.includes(revision) || revision === own ? { commit: own, files } : undefined;
  }

  /** What a request is about, and what it is given where it is not refused. */
  function understand(request: Request) {
    const path = request.url.startsWith(prefix) ? request.url.slice(prefix.length) : '';
    const asFile = resolve.exec(path);
    const asListing = tree.exec(path);
    const [, name = '', revision = '', file] = asFile ?? asListing ?? revisionPath.exec(path) ?? [];
    const repository = repositories[name];
    const version = repository && filesAt(repository, decodeURIComponent(revision));
    const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    let body: Uint8Array | undefined;
    if (version && asFile) body = version.files.get(decodeURIComponent(file!));
    else if (version) body = json(asListing ? listing(version.files) : { sha: version.commit });
    return { name, file, repository, version, body };
  }

  const cdn = await serve(new Map(), {
    find({ name }) {
      const [org, repository, commit, ...path] = name.split('/');
      return filesAt(repositories[`${org}/${repository}`]!, commit!)?.files.get(path.join('/'));
    },
    ...cdnBehaviour,
  });

  function answer(request: Request, response: ServerResponse): boolean {
    const refuse = (status: number, code: string) => {
      response.writeHead(status, { ...headers, ...(codes ? { 'X-Error-Code': code } : {}) }).end('no');
      return true;
    };
    if (request.method === 'OPTIONS') {
      response.writeHead(204, { ...headers, 'Access-Control-Allow-Headers': 'authorization, range' }).end();
      return true;
    }
    const { name, file, repository, version, body } = understand(request);
    const token = request.headers.authorization?.replace(/^Bearer /, '');
    if (!repository) return refuse(codes && token === undefined ? 401 : 404, 'RepoNotFound');
    if (repository.tokens && !repository.tokens.includes(token ?? '')) {
      return refuse(token === undefined ? 401 : 403, 'GatedRepo');
    }
    if (!version) return refuse(404, 'RevisionNotFound');
    if (!body) return refuse(404, 'EntryNotFound');
    if (hubBehaviour.answer?.(request, response)) return true;
    if (file === undefined || !isLarge(file) || hubBehaviour.status?.(request) !== undefined) return false;
    const location = `${cdn.url}/${name}/${version.commit}/${file}?signature=abc`;
    const linked = { 'X-Linked-Etag': `"${sha256(body)}"`, 'X-Linked-Size': String(body.length) };
    response.writeHead(302, { Location: location, 'X-Repo-Commit': version.commit, ...linked, ...headers });
    response.end();
    return true;
  }

  const hub = await serve(new Map(), {
    ...hubBehaviour,
    answer,
    find: (request) => understand(request).body,
    headers(request) {
      const { file, version, body } = understand(request);
      const isText = file !== undefined;
      return {
        'Content-Type': isText ? 'text/plain' : 'application/json',
        ...(isText && body ? { ETag: `"${blobSha1(body)}"`, 'X-Repo-Commit': version!.commit } : {}),
        ...headers,
        ...hubBehaviour.headers?.(request),
      };
    },
  });
  return {
    hub,
    cdn,
    async close() {
      await Promise.all([hub.close(), cdn.close()]);
    },
  };
}
