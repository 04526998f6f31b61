/** The language of the find and hide boxes: `<criterion> [AND|OR <criterion>]…`, without parentheses; OR splits first.
 *
 * A criterion is `operand operator value` (`= != > >= < <= *= ^= $=`, `contains`, `startswith`, `endswith`) or a word alone
 * (`healthy`), `!` or `not` before it turns it around, `is` and `has` are noise, `= NaN` means no activity. Criteria of nodes
 * and of edges cannot be joined by AND. Pure. */
import type { Edge, Graph, Node } from '../api/contract.gen';
import { text } from '../text';

type Predicate =
  { on: 'node'; test: (node: Node, context: Context) => boolean } | { on: 'edge'; test: (edge: Edge, context: Context) => boolean };

/** The criteria of each alternative. */
export type Expression = Predicate[][];
export type Parsed = { expression: Expression; error: '' } | { expression: null; error: string };
export interface Matches {
  nodes: Set<string>;
  edges: Set<string>;
}

/** What a criterion may need of the whole graph. */
interface Context {
  ranks: Map<string, number>;
}

type NodeValue = (node: Node, context: Context) => string | string[] | number | null;
type EdgeValue = (edge: Edge, context: Context) => string | string[] | number | null;

const sum = (list: Node['inbound'], protocol: string, of: 'rate' | 'bytes') =>
  list.reduce((total, t) => total + (t.protocol === protocol ? t[of] : 0), 0) || null;
const badge = (name: string) => (node: Node) => node.badges.includes(name);
const rateOf = (edge: Edge) => edge.traffic.rate || edge.traffic.bytes;
const errors = (protocol: string) => (edge: Edge) => (edge.traffic.protocol === protocol ? edge.traffic.errorShare * 100 || null : null);
const requests = (protocol: string) => (edge: Edge) => (edge.traffic.protocol === protocol ? rateOf(edge) || null : null);
const distribution = (protocol: string) => (edge: Edge) =>
  edge.traffic.protocol === protocol && edge.share ? edge.share * 100 : null;

const NODE_VALUES: Record<string, NodeValue> = {
  app: (node) => node.app,
  grpcin: (node) => sum(node.inbound, 'grpc', 'rate'),
  grpcout: (node) => sum(node.outbound, 'grpc', 'rate'),
  httpin: (node) => sum(node.inbound, 'http', 'rate'),
  httpout: (node) => sum(node.outbound, 'http', 'rate'),
  tcpin: (node) => sum(node.inbound, 'tcp', 'bytes'),
  tcpout: (node) => sum(node.outbound, 'tcp', 'bytes'),
  name: (node) => [node.name, node.app, node.workload, node.service].filter(Boolean),
  namespace: (node) => node.namespace,
  node: (node) => node.kind.toLowerCase(),
  rank: (node, context) => context.ranks.get(node.id) ?? null,
  service: (node) => node.service,
  version: (node) => node.version,
  workload: (node) => node.workload,
};
const NODE_FLAGS: Record<string, (node: Node) => boolean> = {
  circuitbreaker: badge('circuitBreaker'),
  faultinjection: badge('faultInjection'),
  gateway: badge('gateway'),
  healthy: (node) => node.health.status === 'Healthy' || node.health.status === 'NA',
  idle: (node) => node.idle,
  inaccessible: (node) => node.name === 'inaccessible',
  mirroring: badge('mirroring'),
  outofmesh: badge('missingSidecar'),
  outside: (node) => node.outside,
  requestrouting: badge('requestRouting'),
  requesttimeout: badge('requestTimeout'),
  serviceentry: (node) => node.kind === 'serviceEntry',
  trafficshifting: badge('trafficShifting'),
  trafficsource: badge('trafficSource'),
  unknown: (node) => node.kind === 'unknown',
  virtualservice: (node) =>
    node.badges.some((name) => ['faultInjection', 'mirroring', 'requestRouting', 'requestTimeout', 'trafficShifting'].includes(name)),
  workloadentry: badge('workloadEntry'),
};
const EDGE_VALUES: Record<string, EdgeValue> = {
  '%grpcerr': errors('grpc'),
  '%grpctraffic': distribution('grpc'),
  '%httperr': errors('http'),
  '%httptraffic': distribution('http'),
  grpc: requests('grpc'),
  host: (edge) => edge.hosts,
  http: requests('http'),
  mtls: (edge) => (edge.mutualTlsShare ? edge.mutualTlsShare * 100 : null),
  protocol: (edge) => edge.traffic.protocol,
  responsetime: (edge) => edge.p95,
  tcp: requests('tcp'),
  throughput: (edge) => edge.traffic.bytes || null,
  traffic: (edge) => rateOf(edge) || null,
};
const SHORT: Record<string, string> = {
  cb: 'circuitbreaker',
  fi: 'faultinjection',
  ns: 'namespace',
  om: 'outofmesh',
  rr: 'requestrouting',
  rt: 'responsetime',
  rto: 'requesttimeout',
  se: 'serviceentry',
  svc: 'service',
  ts: 'trafficshifting',
  vs: 'virtualservice',
  we: 'workloadentry',
  wl: 'workload',
};

/** All operands, for completion. */
export const OPERANDS = ['label:', ...Object.keys(NODE_VALUES), ...Object.keys(NODE_FLAGS), ...Object.keys(EDGE_VALUES)].sort();

const MOST = 12;

/** How a text can go on: whole texts, whose last word is an operand. */
export function completions(typed: string): string[] {
  const [, before = '', word = ''] = /^(.*?)((?:%?[a-z:]*)?)$/i.exec(typed) ?? [];
  if (before.trim() && !/(^|\s)(and|or|not|is|has|!)\s*$/i.test(before)) return [];
  const start = word.toLowerCase();
  return OPERANDS.filter((operand) => operand.startsWith(start) && operand !== start)
    .slice(0, MOST)
    .map((operand) => before + operand);
}

const WORDS: Record<string, string> = { contains: '*=', startswith: '^=', endswith: '$=' };
const CRITERION = /^(label:[\w./-]+|%?[a-z:]+)(?:\s*(!)?\s*(>=|<=|!=|\*=|\^=|\$=|=|>|<)\s*|\s+(not\s+)?(contains|startswith|endswith)\s+)(.+)$/i;

/** The expression of a text, or what is wrong with it. An empty text matches nothing. */
export function parse(input: string): Parsed {
  const expression: Expression = [];
  if (!input.trim()) return { expression, error: '' };
  for (const alternative of input.trim().split(/\s+or\s+/i)) {
    const criteria: Predicate[] = [];
    for (const part of alternative.split(/\s+and\s+/i)) {
      const parsed = criterion(part.trim());
      if (typeof parsed === 'string') return { expression: null, error: parsed };
      criteria.push(parsed);
    }
    if (new Set(criteria.map((one) => one.on)).size > 1) return { expression: null, error: text.find.mixed };
    expression.push(criteria);
  }
  return { expression, error: '' };
}

/** The criterion of a text, or what is wrong with it. */
function criterion(input: string): Predicate | string {
  const turned = /^(?:!|not\s+)\s*(?!=)/i;
  const negated = turned.test(input);
  const body = input
    .replace(turned, '')
    .replace(/^(is|has)\s+/i, '')
    .trim();
  const match = CRITERION.exec(body);
  if (!match) return flag(body.toLowerCase(), negated);
  const [, word = '', bang, symbol, not, named, raw = ''] = match;
  const operand = full(word);
  let operator = symbol ?? WORDS[(named ?? '').toLowerCase()] ?? '=';
  let negate = negated !== Boolean(bang ?? not);
  if (operator === '!=') {
    operator = '=';
    negate = !negate;
  }
  const value = raw.trim().replace(/^(['"])(.*)\1$/, '$2');
  const ofNode = NODE_VALUES[operand] ?? label(operand);
  if (ofNode) return compared('node', ofNode, operand, operator, value, negate);
  const ofEdge = EDGE_VALUES[operand];
  if (ofEdge) return compared('edge', ofEdge, operand, operator, value, negate);
  return NODE_FLAGS[operand] ? text.find.alone(operand) : text.find.unknown(word);
}

/** `label:app` is the value of the label `app`. */
const label = (operand: string): NodeValue | undefined =>
  operand.startsWith('label:') ? (node) => node.labels[operand.slice(6)] ?? null : undefined;
const full = (word: string): string => SHORT[word.toLowerCase()] ?? word.toLowerCase();

function flag(word: string, negate: boolean): Predicate | string {
  const operand = full(word);
  const test = NODE_FLAGS[operand];
  if (test) return { on: 'node', test: (node) => test(node) !== negate };
  if (operand === 'traffic') return { on: 'edge', test: (edge) => rateOf(edge) > 0 !== negate };
  if (NODE_VALUES[operand] || EDGE_VALUES[operand]) return text.find.value(operand);
  return word ? text.find.unknown(word) : text.find.empty;
}

function compared(
  on: 'node' | 'edge',
  valueOf: NodeValue | EdgeValue,
  operand: string,
  operator: string,
  value: string,
  negate: boolean,
): Predicate | string {
  const numeric = /^[<>]/.test(operator);
  const number = Number(value.replace(/%$/, ''));
  const absent = value.toLowerCase() === 'nan';
  if (numeric && Number.isNaN(number)) return text.find.number(operand, operator);
  const test = (actual: string | string[] | number | null): boolean => {
    if (absent) return (actual === null || actual === '') !== negate;
    if (actual === null) return negate && !numeric;
    const all = (Array.isArray(actual) ? actual : [actual]).map((one) =>
      typeof one === 'number' ? holds(one, operator, number) : says(one, operator, value),
    );
    return all.some(Boolean) !== negate;
  };
  if (on === 'node') return { on, test: (node, context) => test((valueOf as NodeValue)(node, context)) };
  return { on, test: (edge, context) => test((valueOf as EdgeValue)(edge, context)) };
}

function holds(actual: number, operator: string, value: number): boolean {
  switch (operator) {
    case '>':
      return actual > value;
    case '>=':
      return actual >= value;
    case '<':
      return actual < value;
    case '<=':
      return actual <= value;
    default:
      return actual === value;
  }
}

function says(actual: string, operator: string, value: string): boolean {
  const [a, b] = [actual.toLowerCase(), value.toLowerCase()];
  switch (operator) {
    case '*=':
      return a.includes(b);
    case '^=':
      return a.startsWith(b);
    case '$=':
      return a.endsWith(b);
    case '=':
      return a === b;
    default:
      return holds(Number(actual), operator, Number(value));
  }
}

/** What of a graph an expression matches. */
export function matches(expression: Expression, graph: Graph): Matches {
  const found: Matches = { nodes: new Set(), edges: new Set() };
  if (!expression.length) return found;
  const context = contextOf(graph);
  for (const criteria of expression) {
    if (criteria[0]?.on === 'node') {
      for (const node of graph.nodes) if (criteria.every((one) => one.on === 'node' && one.test(node, context))) found.nodes.add(node.id);
    } else {
      for (const edge of graph.edges) if (criteria.every((one) => one.on === 'edge' && one.test(edge, context))) found.edges.add(edge.id);
    }
  }
  return found;
}

/** The graph without what an expression matches, edges without both their ends, and nodes that lost their last edge. */
export function without(expression: Expression, graph: Graph): Graph {
  if (!expression.length) return graph;
  const hidden = matches(expression, graph);
  const edges = graph.edges.filter(
    (edge) => !hidden.edges.has(edge.id) && !hidden.nodes.has(edge.source) && !hidden.nodes.has(edge.target),
  );
  const linked = new Set(edges.flatMap((edge) => [edge.source, edge.target]));
  const before = new Set(graph.edges.flatMap((edge) => [edge.source, edge.target]));
  const nodes = graph.nodes.filter((node) => !hidden.nodes.has(node.id) && (linked.has(node.id) || !before.has(node.id)));
  return { ...graph, nodes, edges };
}

/** `rank` is the share of all edges at a node, from 1 (the most) to 100. */
function contextOf(graph: Graph): Context {
  const degree = new Map(graph.nodes.map((node) => [node.id, 0]));
  for (const edge of graph.edges) {
    for (const end of [edge.source, edge.target]) degree.set(end, (degree.get(end) ?? 0) + 1);
  }
  const values = [...degree.values()];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const scale = high > low ? 99 / (high - low) : 0;
  return { ranks: new Map([...degree].map(([id, count]) => [id, Math.round(1 + (high - count) * scale)])) };
}
