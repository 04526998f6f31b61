/** What of a graph a trace has passed. Pure. */
import type { Graph, Node, Span, Trace } from '../api/contract.gen';
import type { Matches } from './find';

/** Nodes that made spans or were called in the trace, and the edges of its calls. */
export function traced(trace: Trace, graph: Graph): Matches {
  const found: Matches = { nodes: new Set(), edges: new Set() };
  const above: Span[] = []; // from the root to the span
  for (const span of trace.spans) {
    above.length = Math.min(above.length, span.depth);
    const mine = idsOf(graph, (node) => isOf(span, node));
    const parent = above.at(-1);
    const called = idsOf(graph, (node) => isCalled(span, node) || (parent?.kind === 'client' && isCalled(parent, node)));
    const served = above.findLast((one) => one.kind === 'server');
    const from = span.kind === 'client' ? span : parent;
    const callers = idsOf(graph, (node) => (from && isOf(from, node)) || (served && isCalled(served, node)) || false);
    const callees = span.kind === 'client' ? new Set<string>() : mine;
    for (const id of [...mine, ...called]) found.nodes.add(id);
    for (const { id, source, target } of graph.edges)
      if ((callers.has(source) && (called.has(target) || callees.has(target))) || (called.has(source) && callees.has(target))) found.edges.add(id);
    above.push(span);
  }
  return found;
}

const idsOf = (graph: Graph, test: (node: Node) => boolean): Set<string> => new Set(graph.nodes.filter(test).map((node) => node.id));

/** Whether a node's proxies made a span: APPLICATION.NAMESPACE, and the pod in the id of Envoy's node. */
function isOf({ service, tags }: Span, node: Node): boolean {
  const pod = (tags['node_id'] ?? '').split('~')[2]?.split('.')[0] ?? '';
  if (node.kind === 'service' || !node.namespace || service !== `${node.app || node.name}.${node.namespace}`) return false;
  return !node.workload || !pod || pod === node.workload || pod.startsWith(`${node.workload}-`);
}

/** Whether a node is the service that a span asked for. */
const isCalled = ({ operation, tags }: Span, { kind, name, namespace }: Node): boolean =>
  (kind === 'service' || kind === 'serviceEntry') &&
  (operation.startsWith(`${name}.${namespace}.`) || Object.values(tags).some((value) => value.includes(`|${name}.${namespace}.`)));
