/** What nodes and edges are called, and what is written on them. Pure. */
import type { Edge } from '../api/contract.gen';
import { duration, percent, rate, throughput } from '../format';
import type { LabelKind } from '../options';
import { text } from '../text';
import type { ShownNode } from './collapse';

export const kindOf = (node: ShownNode): string => (node.members ? 'namespace' : node.kind);

/** The name as people say it, with the version. */
export const nameOf = (node: ShownNode): string => (node.version ? `${node.name} ${node.version}` : node.name);

export const isTcp = (edge: Edge): boolean => edge.traffic.protocol === 'tcp';
export const isIdle = (edge: Edge): boolean => edge.traffic.rate <= 0 && edge.traffic.bytes <= 0;

/** How much traffic an edge has, in the unit of its protocol. */
export const amount = (edge: Edge): string => (isTcp(edge) ? throughput(edge.traffic.bytes) : rate(edge.traffic.rate));

/** The label of an edge; empty for none. */
export function labelOf(edge: Edge, kind: LabelKind): string {
  if (isIdle(edge)) return '';
  switch (kind) {
    case 'none':
      return '';
    case 'rate':
      return amount(edge);
    case 'errors':
      return isTcp(edge) ? '' : percent(edge.traffic.errorShare);
    case 'share':
      return edge.share === null ? '' : percent(edge.share);
    case 'p50':
    case 'p95':
    case 'p99': {
      const value = edge[kind];
      return value === null ? '' : duration(value);
    }
    case 'throughput':
      return edge.traffic.bytes > 0 ? throughput(edge.traffic.bytes) : '';
    case 'mtls':
      return edge.mutualTlsShare ? percent(edge.mutualTlsShare) : '';
  }
}

export const describeNode = (node: ShownNode): string =>
  text.graph.node(
    text.graph.kinds[kindOf(node)] ?? node.kind,
    nameOf(node),
    node.members ? '' : node.namespace,
    text.status[node.health.status],
  );

export const describeEdge = (edge: Edge, source: ShownNode, target: ShownNode): string =>
  text.graph.edge(nameOf(source), nameOf(target), edge.traffic.protocol, amount(edge), text.status[edge.status]);

/** The colour class of an edge. */
export const toneOf = (edge: Edge): string =>
  isIdle(edge) ? 'idle' : isTcp(edge) && edge.status !== 'Failure' && edge.status !== 'Degraded' ? 'tcp' : edge.status.toLowerCase();
