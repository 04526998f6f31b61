// A mesh that follows the contract (console/openapi.json), for tests and for work on the page: Bookinfo with a broken service
// and a slow one, and a large mesh. `tsc` checks these against the generated types.
/** @typedef {import('../../src/api/contract.gen').Graph} Graph */
/** @typedef {import('../../src/api/contract.gen').GraphDelta} GraphDelta */
/** @typedef {import('../../src/api/contract.gen').Node} Node */
/** @typedef {import('../../src/api/contract.gen').Edge} Edge */
/** @typedef {import('../../src/api/contract.gen').Item} Item */
/** @typedef {import('../../src/api/contract.gen').Health} Health */
/** @typedef {import('../../src/api/contract.gen').Traffic} Traffic */

/** @type {import('../../src/api/contract.gen').Session} */
export const session = { user: 'system:serviceaccount:istio-system:kiali', readOnly: true, version: '0.9.0', cluster: 'Kubernetes' };

/** @param {number} rate @param {number} [errors] @returns {Traffic} */
const http = (rate, errors = 0) => ({
  protocol: 'http',
  rate,
  errorShare: errors,
  bytes: rate * 900,
  codes: errors ? { 200: rate * (1 - errors), 503: rate * errors } : { 200: rate },
});
/** @param {number} bytes @returns {Traffic} */
const tcp = (bytes) => ({ protocol: 'tcp', rate: 0, errorShare: 0, bytes, codes: {} });

/** @param {number} share */
const statusOf = (share) => (share >= 0.1 ? 'Failure' : share > 0 ? 'Degraded' : 'Healthy');

/** @param {Traffic[]} inbound @returns {Health} */
const healthOf = (inbound) => {
  const share = Math.max(0, ...inbound.map((one) => one.errorShare));
  const rate = inbound.reduce((sum, one) => sum + one.rate, 0);
  const rules = rate
    ? [
        { codes: '5XX', share, degradedFrom: 0, failureFrom: 0.1 },
        { codes: '4XX', share: 0, degradedFrom: 0.1, failureFrom: 0.2 },
        { codes: '-', share: 0, degradedFrom: 0, failureFrom: 0.1 },
      ]
    : [];
  return {
    status: statusOf(share),
    window: '5m',
    judgements: rules.map((rule) => ({ ...rule, status: statusOf(rule.share), direction: 'inbound', protocol: 'http', rate })),
    replicas: { desired: 1, current: 1, available: 1, synced: 1 },
    replicasStatus: 'Healthy',
  };
};

/** @param {string} namespace @param {string} name @param {string} version @param {Partial<Node>} [more] @returns {Node} */
const app = (namespace, name, version, more = {}) => ({
  id: `app:${namespace}/${name}@${version}`,
  kind: 'app',
  namespace,
  name,
  version,
  app: name,
  workload: `${name}-${version}`,
  service: '',
  health: healthOf([]),
  inbound: [],
  outbound: [],
  badges: [],
  outside: false,
  idle: false,
  reason: '', labels: {},
  ...more,
});

/** @param {Node} source @param {Node} target @param {Traffic} traffic @param {Partial<Edge>} [more] @returns {Edge} */
const edge = (source, target, traffic, more = {}) => ({
  id: `${source.id}>${target.id}>${traffic.protocol}`,
  source: source.id,
  target: target.id,
  traffic,
  status: statusOf(traffic.errorShare),
  hosts: [`${target.name}.${target.namespace}.svc.cluster.local`],
  share: null,
  serverP95: traffic.rate ? 11 : null,
  mutualTlsShare: 1,
  p50: traffic.rate ? 4.2 : null,
  p95: traffic.rate ? 12.5 : null,
  p99: traffic.rate ? 31 : null,
  ...more,
});

/** The nodes with the traffic of the edges. @param {Node[]} nodes @param {Edge[]} edges */
const filled = (nodes, edges) =>
  nodes.map((node) => {
    const inbound = edges.filter((one) => one.target === node.id).map((one) => one.traffic);
    const outbound = edges.filter((one) => one.source === node.id).map((one) => one.traffic);
    return { ...node, inbound, outbound, health: node.kind === 'unknown' ? { ...healthOf(outbound), replicas: null } : healthOf(inbound) };
  });

/** @param {number} number @returns {Graph} */
export function bookinfo(number = 1) {
  const unknown = app('', 'unknown', '', {
    id: 'unknown:/unknown',
    kind: 'unknown',
    app: '',
    workload: '',
    outside: true,
    badges: ['trafficSource'],
    reason: 'Requests from clients without a sidecar, or from outside the mesh. Inject sidecars to see who they are.',
  });
  const ingress = app('istio-system', 'istio-ingressgateway', 'latest', { badges: ['gateway'] });
  const product = app('default', 'productpage', 'v1', { badges: ['requestTimeout'] });
  const details = app('default', 'details', 'v1');
  const [one, two, three] = ['v1', 'v2', 'v3']
    .map((version) => app('default', 'reviews', version))
    .map((node) => ({ ...node, badges: ['trafficShifting'] }));
  if (!one || !two || !three) throw new Error('three versions');
  const ratings = app('default', 'ratings', 'v1', { badges: ['circuitBreaker', 'missingSidecar'] });
  const mongo = app('default', 'mongodb', 'v1');
  const wobble = number % 2 ? 0 : 0.4;
  const edges = [
    edge(unknown, ingress, http(6 + wobble), { mutualTlsShare: 0 }),
    edge(ingress, product, http(6 + wobble)),
    edge(product, details, http(5.9)),
    edge(product, one, http(2)),
    edge(product, two, http(2 + wobble, 0.35), { p95: 48 }),
    edge(product, three, http(2, 0.02)),
    edge(two, ratings, http(2), { mutualTlsShare: null }),
    edge(three, ratings, http(2), { p50: 900, p95: 1900, p99: 2400, mutualTlsShare: 0.5 }),
    edge(ratings, mongo, tcp(1830)),
  ];
  return {
    number,
    type: 'versionedApp',
    window: '5m',
    at: 1_780_000_000 + number * 5,
    namespaces: ['default', 'istio-system'],
    nodes: filled([unknown, ingress, product, details, one, two, three, ratings, mongo], edges),
    edges: shared(edges),
    notes: [],
  };
}

/** Edges with the shares of what their sources send. @param {Edge[]} edges @returns {Edge[]} */
function shared(edges) {
  const amount = (/** @type {Edge} */ one) => one.traffic.rate || one.traffic.bytes;
  return edges.map((one) => {
    const like = edges.filter((other) => other.source === one.source && other.traffic.protocol === one.traffic.protocol);
    const whole = like.reduce((sum, other) => sum + amount(other), 0);
    return { ...one, share: whole > 0 ? amount(one) / whole : null };
  });
}

/** Namespaces with 6 services each. @param {number} [count] of services @returns {Graph} */
export function large(count = 72) {
  const nodes = Array.from({ length: count }, (_, index) => app(`team-${Math.floor(index / 6) + 1}`, `service-${index + 1}`, 'v1'));
  const edges = nodes.flatMap((node, index) =>
    [index * 2 + 1, index * 3 + 2, index + 7].flatMap((to) => {
      const target = nodes[to];
      return target && target !== node ? [edge(node, target, http(1 + (to % 9), to === 20 ? 0.2 : 0))] : [];
    }),
  );
  const unique = [...new Map(edges.map((one) => [one.id, one])).values()];
  return { ...bookinfo(), namespaces: [...new Set(nodes.map((node) => node.namespace))], nodes: filled(nodes, unique), edges: unique };
}

/** A graph for measurements, with a given number of edges. @param {number} count @param {number} wanted @returns {Graph} */
export function dense(count, wanted) {
  const nodes = Array.from({ length: count }, (_, index) => app(`team-${index % 4}`, `service-${index + 1}`, 'v1'));
  /** @type {Map<string, Edge>} */
  const edges = new Map();
  for (let index = 0; edges.size < wanted; index += 1) {
    const [source, target] = [nodes[(index * 7) % count], nodes[(index * 7 + 1 + ((index * 13) % (count - 1))) % count]];
    if (!source || !target || source === target) continue;
    const one = edge(source, target, http(1 + (index % 20), 0));
    edges.set(one.id, one);
  }
  const unique = [...edges.values()];
  return { ...bookinfo(), namespaces: ['team-0', 'team-1', 'team-2', 'team-3'], nodes: filled(nodes, unique), edges: unique };
}

/** @returns {Graph} */
export function empty() {
  return { ...bookinfo(), nodes: [], edges: [], notes: ['No requests in default in the last 5m. Send some, or choose a longer window.'] };
}

/** @param {Graph} before @returns {{graph: Graph, delta: GraphDelta}} */
export function next(before) {
  const graph = bookinfo(before.number + 1);
  const changed = (/** @type {{id: string}[]} */ old, /** @type {{id: string}} */ now) =>
    JSON.stringify(old.find((one) => one.id === now.id)) !== JSON.stringify(now);
  const nodes = graph.nodes.filter((node) => changed(before.nodes, node));
  const edges = graph.edges.filter((one) => changed(before.edges, one));
  return {
    graph,
    delta: { since: before.number, number: graph.number, at: graph.at, nodes, edges, removedNodes: [], removedEdges: [], notes: [] },
  };
}

/** @param {'App' | 'Deployment' | 'Service'} kind @returns {Item[]} */
export function items(kind) {
  return bookinfo()
    .nodes.filter((node) => node.kind === 'app')
    .map((node) => ({
      kind,
      namespace: node.namespace,
      name:
        kind === 'Deployment'
          ? node.workload
          : kind === 'App'
            ? `${node.name}${node.name === 'reviews' ? `-${node.version}` : ''}`
            : `${node.name}-${node.version}`,
      health: node.health,
      labels: { app: node.app, version: node.version },
      versions: [node.version],
      sidecar: !node.badges.includes('missingSidecar'),
      rate: node.inbound.reduce((sum, one) => sum + one.rate, 0),
      errorShare: Math.max(0, ...node.inbound.map((one) => one.errorShare)),
      p95: node.inbound.some((one) => one.rate) ? 12.5 : null,
    }));
}

/** @type {import('../../src/api/contract.gen').ConfigItem[]} */
export const config = [
  {
    kind: 'VirtualService',
    apiVersion: 'networking.istio.io/v1',
    namespace: 'default',
    name: 'reviews',
    accepted: false,
    reason: 'Invalid',
    message: 'spec.http[0].route[0].destination.subset: v9 is no subset of reviews. Add it to the DestinationRule reviews.',
    proxies: '',
    created: '2026-11-30T08:00:00Z',
    errors: 1,
    warnings: 2,
  },
  {
    kind: 'DestinationRule',
    apiVersion: 'networking.istio.io/v1',
    namespace: 'default',
    name: 'reviews',
    accepted: true,
    reason: 'Accepted',
    message: '',
    proxies: '8 of 8 proxies',
    created: '2026-11-30T08:00:00Z',
    errors: 0,
    warnings: 0,
  },
  {
    kind: 'Gateway',
    apiVersion: 'networking.istio.io/v1',
    namespace: 'istio-system',
    name: 'bookinfo',
    accepted: true,
    reason: 'Accepted',
    message: '',
    proxies: '1 of 1 proxies',
    created: '2026-11-30T08:00:00Z',
    errors: 0,
    warnings: 0,
  },
];

/** @type {import('../../src/api/contract.gen').Overview} */
export const overview = {
  window: '5m',
  applications: [
    { status: 'Failure', count: 1 },
    { status: 'Degraded', count: 1 },
    { status: 'Healthy', count: 6 },
  ],
  inboundRate: 24.2,
  errorRates: [
    { namespace: 'default', name: 'reviews', value: 0.12 },
    { namespace: 'default', name: 'ratings', value: 0.004 },
  ],
  slowest: [
    { namespace: 'default', name: 'ratings', value: 1900 },
    { namespace: 'default', name: 'productpage', value: 84 },
  ],
  busiest: [
    { namespace: 'default', name: 'productpage', value: 6 },
    { namespace: 'default', name: 'details', value: 5.9 },
  ],
  config: config.filter((one) => !one.accepted),
  configCount: config.length,
  controlPlane: { version: '0.9.0', proxies: 9, stale: ['ratings-v1-77d9.default'], pushMs: 18 },
  certificates: [],
};

/** @type {import('../../src/api/contract.gen').Namespace[]} */
export const namespaces = [
  { name: 'default', injected: true, controlPlane: false, health: healthOf([http(2, 0.35)]) },
  { name: 'istio-system', injected: false, controlPlane: true, health: healthOf([http(6)]) },
  { name: 'kube-system', injected: false, controlPlane: false, health: { ...healthOf([]), status: 'NA' } },
];
