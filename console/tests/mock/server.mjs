// A small server that answers as the console's does, from fixtures: the page's files with the same policy, login, the API, the
// stream of the graph. `node tests/mock/server.mjs [port]`, or `start` from a test. The namespace chosen picks the scene: `large`,
// `huge` or `empty` in the query of the graph's namespaces, Bookinfo otherwise.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as changes from './config.mjs';
import * as details from './details.mjs';
import * as fixtures from './fixtures.mjs';

const PAGE = fileURLToPath(new URL('../../../src/sailcloth/console/page/', import.meta.url));
const POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
/** @type {Record<string, string>} */
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
export const TOKEN = 'a-good-token';

/** @typedef {import('node:http').ServerResponse} Response */

/** @param {Response} response @param {number} status @param {unknown} body @param {Record<string, string>} [headers] */
function answer(response, status, body, headers = {}) {
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    'Content-Security-Policy': POLICY,
    ...headers,
  });
  response.end(JSON.stringify(body));
}

/** @param {URL} url */
const graphOf = (url) => {
  const names = url.searchParams.get('namespaces') ?? '';
  return names === 'large'
    ? fixtures.large()
    : names === 'huge'
      ? fixtures.large(480)
      : names.startsWith('frames')
        ? fixtures.dense(Number(names.slice(6)), 4 * Number(names.slice(6)))
        : names === 'empty'
        ? fixtures.empty()
        : fixtures.bookinfo();
};

/** @type {Record<string, (url: URL) => unknown>} */
const API = {
  '/api/session': () => fixtures.session,
  '/api/overview': () => fixtures.overview,
  '/api/namespaces': () => fixtures.namespaces,
  '/api/graph': graphOf,
  '/api/apps': () => fixtures.items('App'),
  '/api/workloads': () => fixtures.items('Deployment'),
  '/api/services': () => fixtures.items('Service'),
  '/api/config': () => fixtures.config,
  '/api/unresolved': () => changes.unresolved,
  '/api/mesh': () => changes.mesh,
  '/api/config/object': () => changes.object,
  '/api/config/use': () => changes.use,
  '/api/config/schema': () => changes.schema,
  '/api/forms': () => changes.forms,
  '/api/forms/traffic': () => changes.traffic,
  '/api/forms/object': () => ({ form: changes.forms[0], values: { mode: 'STRICT' }, problem: '' }),
  ...details.API,
};

/** @type {Record<string, (body: any) => unknown>} */
const POSTS = { ...changes.POSTS, '/api/proxy-config/logging': details.setLevel };

/** @param {URL} url @param {Response} response */
function stream(url, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'Content-Security-Policy': POLICY });
  let graph = graphOf(url);
  response.write(`event: graph\ndata: ${JSON.stringify(graph)}\n\n`);
  if (url.searchParams.get('namespaces')) return;
  const timer = setInterval(() => {
    const step = fixtures.next(graph);
    graph = step.graph;
    response.write(`event: delta\ndata: ${JSON.stringify(step.delta)}\n\n`);
  }, 2000);
  response.on('close', () => clearInterval(timer));
}

/** @param {URL} url @param {Response} response */
function tail(url, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'Content-Security-Policy': POLICY });
  for (const batch of details.tail(url)) response.write(`event: lines\ndata: ${JSON.stringify(batch)}\n\n`);
}

/** @param {string} path @param {Response} response */
function file(path, response) {
  let name = join(PAGE, normalize(path));
  if (!name.startsWith(PAGE) || !existsSync(name) || !statSync(name).isFile()) {
    if (extname(path)) return answer(response, 404, { error: 'Not Found', fix: '' });
    name = join(PAGE, 'index.html');
  }
  response.writeHead(200, { 'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream', 'Content-Security-Policy': POLICY });
  createReadStream(name).pipe(response);
}

/** Starts the server. `port` 0 takes a free one. @param {number} port @returns {Promise<{url: string, close: () => void}>} */
export function start(port = 0) {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const known = (request.headers.cookie ?? '').includes('sailcloth-console=yes');
    if (url.pathname === '/api/login' && request.method === 'POST') {
      let body = '';
      request.on('data', (part) => (body += part));
      request.on('end', () =>
        JSON.parse(body).token === TOKEN
          ? answer(response, 200, fixtures.session, { 'Set-Cookie': 'sailcloth-console=yes; Path=/; HttpOnly; SameSite=Strict' })
          : answer(response, 401, {
              error: 'the token is not valid',
              fix: 'Open the URL of `sailctl dashboard`, or log in with a Kubernetes token.',
            }),
      );
    } else if (url.pathname === '/api/logout' && request.method === 'POST') {
      response.writeHead(204, { 'Set-Cookie': 'sailcloth-console=; Path=/; Max-Age=0' }).end();
    } else if (url.pathname === '/api/login/methods') answer(response, 200, { openid: true });
    else if (url.pathname.startsWith('/api/') && !known) {
      answer(response, 401, { error: 'nobody is logged in, or the session has ended', fix: 'Open the URL of `sailctl dashboard`.' });
    } else if (url.pathname === '/api/graph/events') stream(url, response);
    else if (url.pathname === '/api/logs/events') tail(url, response);
    else if (url.pathname === '/api/logs/explain') answer(response, 200, details.explained);
    else if (request.method === 'POST' && POSTS[url.pathname]) {
      let body = '';
      request.on('data', (part) => (body += part));
      request.on('end', () => answer(response, 200, POSTS[url.pathname]?.(JSON.parse(body))));
    } else if (API[url.pathname]) {
      const body = API[url.pathname]?.(url);
      if (body === null) answer(response, 404, { error: 'there is no such thing', fix: 'The list has those that are there.' });
      else answer(response, 200, body);
    } else file(url.pathname, response);
  });
  return new Promise((resolve) => {
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      const at = address && typeof address === 'object' ? address.port : port;
      resolve({
        url: `http://127.0.0.1:${at}`,
        close: () => {
          server.closeAllConnections();
          server.close();
        },
      });
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await start(Number(process.argv[2] ?? 20001));
  console.log(`${url}  token: ${TOKEN}`);
}
