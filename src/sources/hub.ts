/**
 * @file Checkpoints by name: Hugging Face (or a mirror of it) and ModelScope. It owns how names are written, the hubs'
 * addresses, and what their refusals mean; it must not know what is in the files.
 */
import { InvalidInputError, SourceError } from '../errors.ts';
import { type ExplainRefusal, shownUrl } from './http.ts';
import { isPlainName, type ReadOptions, type Source } from './source.ts';
import { UrlReader, type UrlReaderOptions } from './url-reader.ts';
import { decoded, urlSourceOf } from './url-source.ts';

export interface HubOptions {
  /**
   * A Hugging Face access token, for gated and private repositories. It is sent to the hub (`endpoint`) and nowhere else;
   * in a page, everyone who uses the page can read it.
   */
  token?: string | undefined;
  /** A mirror in place of https://huggingface.co. */
  endpoint?: string | undefined;
}

export interface HubName {
  hub: keyof typeof HUBS;
  /** `org/name`. */
  repository: string;
  /** A branch, tag or commit; undefined for the hub's default branch. */
  revision: string | undefined;
  /** A file that holds the whole checkpoint, as `Source.file` has it. */
  file?: string | undefined;
}

interface Hub {
  endpoint: string;
  defaultRevision: string;
  /** Address of the repository's page, which the files' addresses begin with. */
  page(endpoint: string, repository: string): string;
  listing(endpoint: string, repository: string, revision: string): string;
  /** Names of the files in what `listing` answers. */
  namesIn(listing: never): string[];
}

const HUBS = {
  hf: {
    endpoint: 'https://huggingface.co',
    defaultRevision: 'main',
    page: (endpoint, repository) => `${endpoint}/${repository}`,
    listing: (endpoint, repository, revision) =>
      `${endpoint}/api/models/${repository}/tree/${encodeURIComponent(revision)}`,
    namesIn: (entries: { type: string; path: string }[]) =>
      entries.filter(({ type }) => type === 'file').map(({ path }) => path),
  },
  modelscope: {
    endpoint: 'https://modelscope.cn',
    defaultRevision: 'master',
    page: (endpoint, repository) => `${endpoint}/models/${repository}`,
    listing: (endpoint, repository, revision) =>
      `${endpoint}/api/v1/models/${repository}/repo/files?Revision=${encodeURIComponent(revision)}`,
    namesIn: ({ Data }: { Data: { Files: { Type: string; Path: string }[] } }) =>
      Data.Files.filter(({ Type }) => Type === 'blob').map(({ Path }) => Path),
  },
} as const satisfies Record<string, Hub>;

/** Far above the listing of any checkpoint. */
const MAX_LISTING_BYTES = 4 * 1024 * 1024;

const WANTED =
  "Wanted 'org/name' or 'org/name@revision' as on huggingface.co, 'modelscope:org/name', or a URL; a relative URL begins " +
  "with './' or '/'. Of a repository of GGUF files: 'org/name:Q4_K_M' or 'org/name/file.gguf'.";

/**
 * Reads a name as apps write it: `org/name`, with `hf:` or `modelscope:` in front and `@revision` behind, or the address of
 * its page; for one of its GGUF files `org/name:Q4_K_M` (a part of its name), `org/name/file.gguf`, or its address. Undefined for what is no name but may be a URL.
 * @throws InvalidInputError for a name that no hub can have
 */
export function parseHubName(text: string): HubName | undefined {
  const [, prefix, rest] = /^(hf|modelscope):(.*)$/s.exec(text) ?? [];
  if (prefix !== undefined) return checkedName(prefix as HubName['hub'], rest!, text);
  const page =
    /^https:\/\/huggingface\.co\/([^/?#]+\/[^/?#]+?)(?:\/(?:tree|resolve|blob)\/([^/?#]+)(?:\/([^?#]+\.gguf)(?:\?download=true)?)?)?\/?$/i.exec(
      text,
    ) ??
    /^https:\/\/(?:www\.)?modelscope\.cn\/models\/([^/?#]+\/[^/?#]+?)(?:\/(?:resolve\/([^/?#]+)(?:\/([^?#]+\.gguf))?|summary|files))?\/?$/i.exec(
      text,
    );
  if (page) {
    const [, repository, revision, file] = page;
    const path = file === undefined ? '' : `/${decoded(file)}`;
    const name = `${repository}${path}${revision === undefined ? '' : `@${decoded(revision)}`}`;
    return checkedName(text.includes('//huggingface.co/') ? 'hf' : 'modelscope', name, text);
  }
  const isName = /^[^./@:][^/@:]*\/[^/@:]+(?::[^/@:]+|\/[^@:]+\.gguf)?(@.*)?$/is.test(text);
  return isName ? checkedName('hf', text, text) : undefined;
}

function checkedName(hub: HubName['hub'], name: string, text: string): HubName {
  const [, repository, path, part, revision] =
    /^([^@/:]*\/[^@/:]*?)(?:\/([^@:]+\.gguf)|:([^@]*))?(?:@(.*))?$/is.exec(name) ?? [];
  if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(repository ?? '') || /\.\./.test(name)) {
    throw new InvalidInputError(
      `${JSON.stringify(text.slice(0, 200))} is no name of a repository. ${WANTED}`,
    );
  }
  if (revision !== undefined && !/^[\w+-][\w.+-]*(\/[\w+-][\w.+-]*)*$/.test(revision)) {
    throw new InvalidInputError(
      `${JSON.stringify(text.slice(0, 200))} has no valid revision behind the @. Wanted a branch, a tag or a commit.`,
    );
  }
  const isFile = part === undefined ? path === undefined || isPlainName(path) : /^[\w.-]+$/.test(part);
  if (!isFile) {
    throw new InvalidInputError(
      `${JSON.stringify(text.slice(0, 200))} names no file that a repository can have. ${WANTED}`,
    );
  }
  return {
    hub,
    repository: repository!,
    revision,
    ...(part !== undefined && { file: `*${part}*` }),
    ...(path !== undefined && { file: path }),
  };
}

/** A repository, and how it is read. */
export interface HubRepository {
  label: string;
  /** Without a slash at the end. */
  endpoint: string;
  page: string;
  /** What was asked for, or the hub's default branch. */
  revision: string;
  reader: UrlReader;
}

/** @throws InvalidInputError when an option cannot be used */
export function openRepository(
  { hub: key, repository, revision }: HubName,
  options: HubOptions = {},
  reading: UrlReaderOptions = {},
): HubRepository {
  const hub: Hub = HUBS[key];
  const endpoint = (key === 'hf' && checkEndpoint(options.endpoint)) || hub.endpoint;
  const token = key === 'hf' ? checkToken(options.token) : undefined;
  const page = hub.page(endpoint, repository);
  const { host } = new URL(endpoint);
  const label = `${repository}${revision === undefined ? '' : `@${revision}`} on ${host}`;
  const revisionOrDefault = revision ?? hub.defaultRevision;
  const reader = new UrlReader({
    ...reading,
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
    explain: explainRefusal({ label, page, token, revision: revisionOrDefault, host }),
  });
  return { label, endpoint, page, revision: revisionOrDefault, reader };
}

/** The files of a repository at a revision, which may be another than the one it was opened with. */
export function repositoryFiles({ page, reader, label }: HubRepository, revision: string): Source {
  return urlSourceOf(new URL(`${page}/resolve/${encodeURIComponent(revision)}/`), reader, label);
}

/**
 * A repository of a hub. Nothing is read, and no error of the hub thrown, before the first file is asked for.
 * @throws InvalidInputError when an option cannot be used
 */
export function hubSource(name: HubName, options: HubOptions = {}, reading: UrlReaderOptions = {}): Source {
  const repository = openRepository(name, options, reading);
  const { label, endpoint, page, revision, reader } = repository;
  const hub: Hub = HUBS[name.hub];
  return {
    ...repositoryFiles(repository, revision),
    file: name.file,

    async list(options: ReadOptions = {}) {
      const url = new URL(hub.listing(endpoint, name.repository, revision));
      const bytes = await reader.readFile(url, MAX_LISTING_BYTES, options);
      if (!bytes) {
        throw new SourceError(
          `${label}: there is no such repository or revision (asked for ${revision}). Check the spelling at ${page}.`,
        );
      }
      try {
        return hub.namesIn(JSON.parse(new TextDecoder().decode(bytes)) as never);
      } catch {
        throw new SourceError(
          `${shownUrl(url)}: this is no list of files. Is ${endpoint} a hub, and are there such a repository and revision?`,
        );
      }
    },
  };
}

interface Repository {
  label: string;
  page: string;
  token: string | undefined;
  revision: string;
  host: string;
}

const TOKEN_PAGE = 'https://huggingface.co/settings/tokens';

/** What Hugging Face and its mirrors mean by a refusal; the header X-Error-Code tells the kind where it is there. */
function explainRefusal({ label, page, token, revision, host }: Repository): ExplainRefusal {
  const giveToken = `give a token that may read it (${TOKEN_PAGE}) as the option hub: { token }`;
  const hasToken = token !== undefined;
  return ({ status, headers, url }) => {
    if (new URL(url).host !== host) return undefined; // a refusal of the storage that it redirects to
    const code = headers.get('x-error-code');
    if (code === 'RevisionNotFound') {
      return new SourceError(
        `${label}: the repository has no revision ${JSON.stringify(revision)}. See ${page} for its branches and tags.`,
      );
    }
    if (code === 'GatedRepo' || (status === 403 && code === null)) {
      return new SourceError(
        `${label}: the repository is gated (${status}). Accept its terms at ${page}, and ` +
          (hasToken
            ? `check at ${TOKEN_PAGE} that the token given as hub: { token } belongs to the same account and may read gated repositories.`
            : `${giveToken}.`),
      );
    }
    if (code === 'RepoNotFound' || status === 401) {
      return new SourceError(
        `${label}: there is no such repository, or it is private (${status}). Check the spelling at ${page}; if it is private, ` +
          (hasToken
            ? `or ${host} does not take the token given as hub: { token }, check that at ${TOKEN_PAGE}.`
            : `${giveToken}.`),
      );
    }
    return undefined;
  };
}

function checkToken(token: string | undefined): string | undefined {
  if (token === undefined || (typeof token === 'string' && /^[\x21-\x7e]+$/.test(token))) return token;
  // Not shown: it is a secret even when it is damaged.
  throw new InvalidInputError(
    'hub.token is empty, or has a space, a line break or another character that no token has. Copy it again, without what is around it.',
  );
}

function checkEndpoint(endpoint: string | undefined): string | undefined {
  if (endpoint === undefined) return undefined;
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const isPlain =
    url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash;
  if (isPlain) return url.href.replace(/\/+$/, '');
  throw new InvalidInputError(
    `hub.endpoint is ${url ? JSON.stringify(shownUrl(url)) : 'not a URL'}, wanted the address of a mirror such as "https://hf-mirror.com", ` +
      'without user name, query or fragment.',
  );
}
