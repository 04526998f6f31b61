/** Large graphs show a namespace as one node until it is opened. Pure. */
import type { Edge, Graph, Node, Traffic } from '../api/contract.gen';
import { STATUSES, worst } from '../health';

/** With more edges than this a graph starts collapsed. */
export const LIMIT = 80;
const PREFIX = 'namespace:';

/** A node of the page: one of the server's, or a collapsed namespace with its nodes, the worst first. */
export type ShownNode = Node & { members?: Node[] };
export type ShownGraph = Omit<Graph, 'nodes'> & { nodes: ShownNode[] };

/** The id of a collapsed namespace. */
export const idOf = (namespace: string): string => PREFIX + namespace;

/** Which namespaces are open. `open` is the option of the URL. */
export function opened(graph: Graph, open: string): Set<string> {
  const all = new Set(graph.nodes.map((node) => node.namespace).filter(Boolean));
  if (open === '*' || (open === '' && graph.edges.length <= LIMIT)) return all;
  return new Set(open.split(',').filter((name) => all.has(name)));
}

/** A node with its neighbours, and the edges at it; the whole graph if the node is gone. */
export function around(graph: Graph, focus: string): Graph {
  const edges = graph.edges.filter((edge) => edge.source === focus || edge.target === focus);
  const near = new Set([focus, ...edges.flatMap((edge) => [edge.source, edge.target])]);
  const nodes = graph.nodes.filter((node) => near.has(node.id));
  return nodes.some((node) => node.id === focus) ? { ...graph, nodes, edges } : graph;
}

/** The option of the URL after a namespace is opened or closed. */
export function toggled(graph: Graph, open: string, namespace: string): string {
  const names = opened(graph, open);
  if (!names.delete(namespace)) names.add(namespace);
  return [...names].sort().join(',') || '-';
}

/** The graph with all namespaces but the open ones as one node each. */
export function collapse(graph: Graph, open: ReadonlySet<string>): ShownGraph {
  const members = new Map<string, Node[]>();
  const idFor = new Map<string, string>();
  const nodes: ShownNode[] = [];
  for (const node of graph.nodes) {
    if (!node.namespace || open.has(node.namespace)) {
      nodes.push(node);
      continue;
    }
    idFor.set(node.id, idOf(node.namespace));
    members.set(node.namespace, [...(members.get(node.namespace) ?? []), node]);
  }
  if (!members.size) return graph;
  const edges = new Map<string, Edge>();
  for (const edge of graph.edges) {
    const source = idFor.get(edge.source) ?? edge.source;
    const target = idFor.get(edge.target) ?? edge.target;
    if (source === target && idFor.has(edge.source)) continue;
    const id = source === edge.source && target === edge.target ? edge.id : `${source}>${target}>${edge.traffic.protocol}`;
    const before = edges.get(id);
    edges.set(id, before ? joined(before, edge) : { ...edge, id, source, target });
  }
  for (const [namespace, list] of members) nodes.push(together(namespace, list, [...edges.values()]));
  return { ...graph, nodes, edges: [...edges.values()] };
}

function together(namespace: string, list: Node[], edges: Edge[]): ShownNode {
  const id = idOf(namespace);
  const first = list[0]?.health.window ?? '';
  const status = worst(list.map((node) => node.health.status));
  return {
    id,
    kind: 'app',
    namespace,
    name: namespace,
    version: '',
    app: '',
    workload: '',
    service: '',
    health: { status, window: first, judgements: [], replicas: null, replicasStatus: 'NA' },
    inbound: byProtocol(edges.filter((edge) => edge.target === id)),
    outbound: byProtocol(edges.filter((edge) => edge.source === id)),
    badges: [],
    outside: list.every((node) => node.outside),
    idle: list.every((node) => node.idle),
    reason: '',
    labels: {},
    members: [...list].sort((a, b) => STATUSES.indexOf(a.health.status) - STATUSES.indexOf(b.health.status)),
  };
}

function byProtocol(edges: Edge[]): Traffic[] {
  const out = new Map<string, Traffic>();
  for (const { traffic } of edges) {
    const before = out.get(traffic.protocol);
    out.set(traffic.protocol, before ? added(before, traffic) : traffic);
  }
  return [...out.values()];
}

function joined(a: Edge, b: Edge): Edge {
  const [x, y] = [a.traffic.rate || a.traffic.bytes, b.traffic.rate || b.traffic.bytes];
  return {
    ...a,
    traffic: added(a.traffic, b.traffic),
    status: worst([a.status, b.status]),
    hosts: [...new Set([...a.hosts, ...b.hosts])].sort(),
    share: a.share === null || b.share === null ? null : a.share + b.share,
    mutualTlsShare: weighted(a.mutualTlsShare, x, b.mutualTlsShare, y),
    p50: largest(a.p50, b.p50),
    p95: largest(a.p95, b.p95),
    p99: largest(a.p99, b.p99),
    serverP95: largest(a.serverP95, b.serverP95),
  };
}

function added(a: Traffic, b: Traffic): Traffic {
  const rate = a.rate + b.rate;
  const codes = { ...a.codes };
  for (const [code, value] of Object.entries(b.codes)) codes[code] = (codes[code] ?? 0) + value;
  return {
    protocol: a.protocol,
    rate,
    bytes: a.bytes + b.bytes,
    codes,
    errorShare: rate > 0 ? (a.errorShare * a.rate + b.errorShare * b.rate) / rate : 0,
  };
}

function weighted(a: number | null, x: number, b: number | null, y: number): number | null {
  if (a === null || b === null) return a ?? b;
  return x + y > 0 ? (a * x + b * y) / (x + y) : a;
}

const largest = (a: number | null, b: number | null): number | null => (a === null ? b : b === null ? a : Math.max(a, b));
