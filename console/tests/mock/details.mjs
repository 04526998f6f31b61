// Details of one workload, service, application or namespace, as the server answers. `tsc` checks these against the contract.
import * as fixtures from './fixtures.mjs';

/** @typedef {import('../../src/api/contract.gen').Details} Details */

/** @param {string} kind @returns {import('../../src/api/contract.gen').Item[]} */
const listed = (kind) => fixtures.items(kind === 'service' ? 'Service' : kind === 'app' ? 'App' : 'Deployment');

/** @param {URL} url @returns {Details | null} */
export function details(url) {
  const kind = /** @type {Details['kind']} */ (url.searchParams.get('kind') ?? 'workload');
  const name = url.searchParams.get('name') ?? '';
  const item = listed(kind).find((one) => one.name === name);
  if (!item) return null;
  const app = item.labels['app'] ?? '';
  const service = kind === 'service';
  return {
    kind,
    type: item.kind,
    namespace: item.namespace,
    name,
    health: item.health,
    labels: item.labels,
    selector: service ? { app } : {},
    versions: item.versions,
    created: '2026-11-30T08:00:00Z',
    rate: item.rate,
    errorShare: item.errorShare,
    p95: item.p95,
    pods: [
      {
        namespace: item.namespace,
        name: `${name}-5b7c9-x2x4z`,
        phase: 'Running',
        ready: true,
        containers: '2/2',
        restarts: 0,
        node: 'sailcloth',
        ip: '10.244.0.7',
        sidecar: true,
        synced: true,
        reason: '',
        created: '2026-11-30T08:00:00Z',
      },
      {
        namespace: item.namespace,
        name: `${name}-5b7c9-q8q8q`,
        phase: 'Pending',
        ready: false,
        containers: '0/2',
        restarts: 3,
        node: 'sailcloth',
        ip: '',
        sidecar: true,
        synced: false,
        reason: 'reviews: CrashLoopBackOff back-off 40s restarting failed container',
        created: '2026-11-30T08:01:00Z',
      },
    ],
    related: [{ kind: service ? 'workload' : 'service', namespace: item.namespace, name: service ? name : `${app}-v1` }],
    ports: service ? [{ name: 'http', number: 9080, protocol: 'HTTP', target: '9080', clients: ['default: mutual TLS (auto mTLS)'] }] : [],
    endpoints: service ? [{ address: '10.244.0.7', pod: `${name}-5b7c9-x2x4z`, node: 'sailcloth', ready: true }] : [],
    objects: [
      { kind: 'VirtualService', namespace: 'default', name: 'reviews', note: 'hosts reviews', accepted: false },
      { kind: 'DestinationRule', namespace: 'default', name: 'reviews', note: 'subsets v1, v2, v3', accepted: true },
    ],
    mutualTls: [{ port: 0, mode: 'STRICT', source: 'PeerAuthentication istio-system/default' }],
    warnings: ['VirtualService default/reviews: subset v9 has no endpoint'],
    events: events(`${name}-5b7c9-q8q8q`),
    notes: [],
  };
}

/** @param {string} name @returns {Details['events']} */
const events = (name) => [
  { type: 'Warning', reason: 'BackOff', message: 'Back-off restarting failed container', kind: 'Pod', name, count: 4, last: '2026-11-30T08:05:00Z' },
  { type: 'Normal', reason: 'Pulled', message: 'Image is there', kind: 'Pod', name, count: 1, last: '2026-11-30T08:01:00Z' },
];

/** @param {URL} url @returns {import('../../src/api/contract.gen').NamespaceDetails | null} */
export function namespace(url) {
  const name = url.searchParams.get('name') ?? '';
  const found = fixtures.namespaces.find((one) => one.name === name);
  if (!found) return null;
  /** @param {string} kind */
  const inside = (kind) => listed(kind).filter((one) => one.namespace === name);
  return {
    name,
    injected: found.injected,
    controlPlane: found.controlPlane,
    health: found.health,
    labels: { 'istio-injection': 'enabled' },
    created: '2026-11-30T08:00:00Z',
    apps: inside('app'),
    workloads: inside('workload'),
    services: inside('service'),
    config: fixtures.config.filter((one) => one.namespace === name),
    events: events('reviews-v2-5b7c9-q8q8q'),
    notes: [],
  };
}

/** @param {URL} url @returns {import('../../src/api/contract.gen').Charts} */
export function series(url) {
  const by = url.searchParams.get('by') ?? 'none';
  const times = Array.from({ length: 61 }, (_, index) => 1_780_000_000 + index * 5);
  const wave = (/** @type {number} */ size, /** @type {number} */ shift) =>
    times.map((_, index) => (index === 20 ? null : size * (1 + 0.3 * Math.sin((index + shift) / 6))));
  const names = by === 'none' ? [''] : by === 'code' ? ['200', '503'] : ['productpage-v1 (default)', 'inaccessible'];
  const measures = by === 'none' ? ['p50', 'p95', 'p99', 'avg'] : ['p95'];
  if (url.searchParams.get('name') === 'mongodb-v1') return { times, step: 5, reporter: 'destination', charts: [] };
  return {
    times,
    step: 5,
    reporter: 'destination',
    charts: [
      { name: 'requests', unit: 'requests/s', dropped: 0, lines: names.map((name, at) => ({ label: name || 'all', values: wave(6 / (at + 1), at) })) },
      { name: 'errors', unit: 'requests/s', dropped: 3, lines: [{ label: names.at(-1) || 'all', values: wave(0.7, 3) }] },
      {
        name: 'duration',
        unit: 'ms',
        dropped: 0,
        lines: names.flatMap((name) => measures.map((one, at) => ({ label: `${name} ${one}`.trim(), values: wave(12 * (at + 1), at) }))),
      },
      { name: 'tcpSent', unit: 'bytes/s', dropped: 0, lines: names.map((name) => ({ label: name || 'all', values: wave(1830, 0) })) },
    ],
  };
}

const REQUEST =
  '[2026-11-30T08:00:02.500Z] "GET /reviews/0 HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 1 - "-" "curl/8" "id" "reviews:9080" "-" ' +
  'outbound|9080||reviews.default.svc.cluster.local - 10.0.0.1:80 10.0.0.2:1 - -';

/** @typedef {import('../../src/api/contract.gen').LogLine} LogLine */

/** @param {number} second @param {string} container @param {string} text @param {Partial<LogLine>} [more] @returns {LogLine} */
const line = (second, container, text, more = {}) => ({
  time: `2026-11-30T08:00:${String(second).padStart(2, '0')}.5Z`,
  pod: 'reviews-v2-5b7c9-x2x4z',
  container,
  text,
  access: false,
  level: 'info',
  ...more,
});

/** @param {URL} url @returns {import('../../src/api/contract.gen').LogLines} */
export function logs(url) {
  if (url.searchParams.get('name') === 'mongodb-v1') return { lines: [], containers: ['app', 'istio-proxy'], problems: [], dropped: 0 };
  const lines = Array.from({ length: 40 }, (_, index) => line(index, 'app', `GET /reviews/${index} took ${index} ms`));
  lines.splice(3, 0, line(2, 'istio-proxy', REQUEST, { access: true, level: 'error' }));
  lines.push(line(41, 'app', 'WARN the pool is nearly empty', { level: 'warning' }));
  const problems = ['reviews-v2-5b7c9-q8q8q app: container app is waiting to start'];
  return { lines, containers: ['app', 'istio-proxy'], problems, dropped: 0 };
}

/** The events of a live tail: what there is, and then a line. @param {URL} url */
export function tail(url) {
  const { lines, containers, problems } = logs(url);
  const batch = (/** @type {LogLine[]} */ some) => ({ lines: some, containers: [], problems, dropped: 0 });
  return [{ lines: [], containers, problems: [], dropped: 0 }, batch(lines), batch([line(50, 'app', 'a new line has come')])];
}

/** @type {import('../../src/api/contract.gen').AccessLog} */
export const explained = {
  summary: 'Outbound GET /reviews/0 for reviews:9080: answered 503 after 1 ms, because no healthy upstream',
  fields: [
    { name: 'response_code', value: '503', meaning: 'of HTTP; 0: no response' },
    { name: 'response_flags', value: 'UH', meaning: 'no healthy upstream: the service has no ready endpoint' },
  ],
};

/** @param {URL} url @returns {import('../../src/api/contract.gen').Traces} */
export function traces(url) {
  if (url.searchParams.get('name') === 'mongodb-v1') return { traces: [], hidden: 2 };
  const all = Array.from({ length: 24 }, (_, index) => ({
    id: `${index + 1}`.padStart(32, '0'),
    start: 1_780_000_000 - index * 7,
    duration: 12 + ((index * 37) % 90),
    operation: 'productpage.default.svc.cluster.local:9080/*',
    services: ['istio-ingressgateway.istio-system', 'productpage.default', 'reviews.default'],
    spans: 8,
    errors: index % 6 ? 0 : 2,
    own: { inbound: 8 + ((index * 37) % 60), outbound: 6 + ((index * 31) % 50) },
  }));
  return { traces: url.searchParams.get('errors') === 'true' ? all.filter((one) => one.errors) : all, hidden: 0 };
}

/** @param {URL} url @returns {import('../../src/api/contract.gen').Trace | null} */
export function trace(url) {
  const id = url.searchParams.get('id') ?? '';
  if (id.length !== 32) return null;
  const span = (/** @type {number} */ depth, /** @type {string} */ service, /** @type {number} */ start, /** @type {number} */ length) => ({
    id: `${depth}`,
    parent: depth ? `${depth - 1}` : '',
    depth,
    service,
    operation: `${service}.svc.cluster.local:9080/*`,
    kind: depth % 2 ? 'client' : 'server',
    start,
    duration: length,
    error: depth === 3,
    tags: { 'http.status_code': depth === 3 ? '503' : '200', 'upstream_cluster.name': 'outbound|9080||reviews.default.svc.cluster.local' },
  });
  const spans = [span(0, 'productpage.default', 0, 48), span(1, 'productpage.default', 4, 40), span(2, 'reviews.default', 8, 30), span(3, 'reviews.default', 12, 20)];
  return { id, start: 1_780_000_000, duration: 48, spans };
}

/** @param {URL} url @returns {import('../../src/api/contract.gen').TraceComparison} */
export function comparison(url) {
  const spans = (trace(url)?.spans ?? []).map(({ duration }, index) =>
    index === 3 ? null : { count: 24, faster: 0.25 * index, quantiles: [0.6, 0.9, 1.2, 1.6].map((part) => part * duration) },
  );
  const similar = traces(url).traces.slice(1, 4).map((one, index) => ({ trace: one, likeness: 1 - index / 8 }));
  return { looked: 23, spans, similar };
}

/** @param {string[]} cells @param {import('../../src/api/contract.gen').ProxyRow['origin']} [origin] */
const row = (cells, origin = null) => ({ cells, origin });

/** @param {URL} url @returns {import('../../src/api/contract.gen').ProxyConfig} */
export function proxyConfig(url) {
  const rule = { kind: 'DestinationRule', namespace: 'default', name: 'reviews', note: '', accepted: true };
  const virtual = { ...rule, kind: 'VirtualService' };
  const host = 'reviews.default.svc.cluster.local';
  return {
    pod: url.searchParams.get('pod') ?? '',
    sync: { CDS: 'SYNCED', LDS: 'SYNCED', RDS: 'STALE', EDS: 'SYNCED', ECDS: 'NOT SENT' },
    whole: true,
    tables: [
      {
        part: 'cluster',
        columns: ['Host', 'Port', 'Subset', 'Direction', 'Type', 'DestinationRule'],
        rows: [
          row([host, '9080', 'v1', 'outbound', 'EDS', 'reviews.default'], rule),
          row([host, '9080', 'v2', 'outbound', 'EDS', 'reviews.default'], rule),
          row(['BlackHoleCluster', '-', '-', '-', 'STATIC', '']),
        ],
        hidden: 4,
      },
      { part: 'listener', columns: ['Address', 'Port', 'Match', 'Destination'], rows: [row(['0.0.0.0', '9080', 'ALL', 'Route: 9080'])], hidden: 0 },
      {
        part: 'route',
        columns: ['Name', 'Virtual host', 'Domains', 'Match', 'VirtualService'],
        rows: [row(['9080', `${host}:9080`, 'reviews', '/*', 'reviews.default'], virtual)],
        hidden: 0,
      },
      { part: 'endpoint', columns: ['Endpoint', 'Status', 'Outlier check', 'Cluster'], rows: [], hidden: 0 },
    ],
  };
}

/** @type {Record<string, string>} */
const levels = { admin: 'warning', http: 'warning', upstream: 'warning' };

/** @param {import('../../src/api/contract.gen').LogLevel} wanted */
export function setLevel({ logger = '', level }) {
  for (const name of logger ? [logger] : Object.keys(levels)) levels[name] = level;
  return { levels };
}

/** By path; null is an answer of 404. @type {Record<string, (url: URL) => unknown>} */
export const API = {
  '/api/details': details,
  '/api/details/namespace': namespace,
  '/api/series': series,
  '/api/runtimes': (url) => {
    const { times, charts } = series(url);
    const chart = (/** @type {string} */ name, /** @type {'bytes' | 'cores'} */ unit) => ({ name, unit, dropped: 0, lines: charts[0]?.lines ?? [] });
    return { times, runtimes: charts.length ? [{ name: 'Envoy', charts: [chart('envoyMemory', 'bytes')] }, { name: 'Go', charts: [chart('goPauses', 'cores')] }] : [] };
  },
  '/api/logs': logs,
  '/api/proxy-config': proxyConfig,
  '/api/proxy-config/difference': () => [
    { part: 'cluster', lines: ['--- Istiod Clusters', '+++ Envoy Clusters', '@@ -1,3 +1,3 @@', ' {', '-  "connect_timeout": "10s",', '+  "connect_timeout": "1s",', ' }'], cut: 0 },
    { part: 'listener', lines: [], cut: 0 },
    { part: 'route', lines: [], cut: 0 },
  ],
  '/api/proxy-config/logging': () => ({ levels }),
  '/api/proxy-config/json': () => ({ configs: [{ '@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump' }] }),
  '/api/traces': traces,
  '/api/traces/spans': trace,
  '/api/traces/comparison': comparison,
};
