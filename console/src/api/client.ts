/** Asks the console's server. Types come from its OpenAPI document. */
import { QueryCache, QueryClient, keepPreviousData, useQuery } from '@tanstack/react-query';
import { text } from '../text';
import type { Options } from '../options';
import type { Problem, Session, paths } from './contract.gen';

type Get = {
  [P in keyof paths]: paths[P] extends { get: { responses: { 200: { content: { 'application/json': infer A } } } } } ? A : never;
};
type Post = {
  [P in keyof paths]: paths[P] extends {
    post: { requestBody?: { content: { 'application/json': infer B } }; responses: { 200: { content: { 'application/json': infer A } } } };
  }
    ? { body: B; answer: A }
    : never;
};
type Path = { [P in keyof Get]: Get[P] extends never ? never : P }[keyof Get];

/** An error that the server, or its absence, has answered with. */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly fix: string,
  ) {
    super(message);
  }
}

export const SESSION = ['/api/session'];
const TIMEOUT_MS = 60_000;

export const client: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error, query) => {
      if (unauthorized(error) && query.queryKey[0] !== SESSION[0]) void client.invalidateQueries({ queryKey: SESSION });
    },
  }),
  defaultOptions: { queries: { retry: (count, error) => count < 1 && !unauthorized(error), refetchOnWindowFocus: false, staleTime: 2000 } },
});

export const unauthorized = (error: unknown): boolean => error instanceof ApiProblem && error.status === 401;

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new ApiProblem(0, text.state.unreachable, text.state.unreachableFix);
  }
  if (response.ok) return response;
  const problem = (await response.json().catch(() => null)) as Problem | null;
  throw new ApiProblem(response.status, problem?.error ?? `${text.state.error} (${response.status})`, problem?.fix ?? '');
}

async function get(path: string, signal: AbortSignal): Promise<unknown> {
  const response = await request(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) });
  return response.json();
}

/** Sends a body; the server's answer. Throws ApiProblem. */
export async function post<P extends keyof Post>(path: P, body: Post[P]['body']): Promise<Post[P]['answer']> {
  const response = await request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  return (await response.json()) as Post[P]['answer'];
}

export async function login(token: string): Promise<void> {
  const response = await request('/api/login', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  client.setQueryData(SESSION, (await response.json()) as Session);
  await client.invalidateQueries();
}

export async function logout(): Promise<void> {
  await request('/api/logout', { method: 'POST' });
  client.removeQueries({ predicate: (query) => query.queryKey[0] !== SESSION[0] });
  await client.invalidateQueries({ queryKey: SESSION });
}

/** The query part of a URL; parameters without a value are left out. */
export function queryOf(parameters: Record<string, string | number | boolean>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== '') query.set(name, String(value));
  return query.toString();
}

/** The parameters that most answers share. */
export const scope = (options: Options) => ({ namespaces: options.namespaces.join(','), window: options.window });

/** An answer of the API. `every`: seconds between looks, 0 for one only. The answer before stays while a new one comes. */
export function useApi<P extends Path>(path: P, parameters: Record<string, string | number | boolean> = {}, every = 0, enabled = true) {
  return useQuery<Get[P]>({
    queryKey: [path, parameters],
    queryFn: ({ signal }) => get(`${path}?${queryOf(parameters)}`, signal) as Promise<Get[P]>,
    refetchInterval: every ? every * 1000 : false,
    placeholderData: keepPreviousData,
    enabled,
  });
}
