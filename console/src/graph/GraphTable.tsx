import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { duration, percent } from '../format';
import { DataTable, healthColumn } from '../pages/DataTable';
import type { Column } from '../pages/sort';
import { text } from '../text';
import type { ShownGraph } from './collapse';
import { amount, isTcp, nameOf } from './labels';

interface Props {
  graph: ShownGraph;
  sort: string;
  onSort: (sort: string) => void;
  selected: string;
  onSelect: (id: string) => void;
}

type Row = ShownGraph['edges'][number] & { from: string; to: string };

/** Bytes come after all requests. */
const size = (row: Row): number => (isTcp(row) ? row.traffic.bytes / Number.MAX_SAFE_INTEGER : row.traffic.rate);

/** The edges of the graph as rows: the same facts for screen readers, and for sorting. */
export default function GraphTable({ graph, sort, onSort, selected, onSelect }: Props) {
  const names = new Map(
    graph.nodes.map((node) => [node.id, node.namespace && !node.members ? `${nameOf(node)} (${node.namespace})` : nameOf(node)]),
  );
  const rows: Row[] = graph.edges.map((edge) => ({
    ...edge,
    from: names.get(edge.source) ?? edge.source,
    to: names.get(edge.target) ?? edge.target,
  }));
  const columns: Column<Row>[] = [
    { key: 'from', title: text.table.source, value: (row) => row.from },
    { key: 'to', title: text.table.target, value: (row) => row.to },
    { key: 'protocol', title: text.table.protocol, value: (row) => row.traffic.protocol },
    { ...healthColumn((row) => row.status), title: text.table.health },
    { key: 'rate', title: text.table.rate, value: size, cell: amount },
    {
      key: 'errors',
      title: text.table.errors,
      value: (row) => row.traffic.errorShare,
      cell: (row) => (isTcp(row) ? '–' : percent(row.traffic.errorShare)),
    },
    { key: 'p95', title: text.table.p95, value: (row) => row.p95 ?? -1, cell: (row) => (row.p95 === null ? '–' : duration(row.p95)) },
    {
      key: 'mtls',
      title: text.table.mtls,
      value: (row) => row.mutualTlsShare ?? -1,
      cell: (row) => (row.mutualTlsShare === null ? '–' : percent(row.mutualTlsShare)),
    },
    {
      key: 'select',
      title: text.table.select,
      cell: (row) => (
        <Button
          variant="link"
          isInline
          aria-label={text.table.selectRow(row.from, row.to)}
          aria-pressed={row.id === selected}
          onClick={() => onSelect(row.id)}
        >
          {text.table.select}
        </Button>
      ),
    },
  ];
  return (
    <div className="sc-scroll" tabIndex={0} role="region" aria-label={text.table.caption}>
      <DataTable label={text.table.caption} rows={rows} columns={columns} idOf={(row) => row.id} sort={sort || '-rate'} onSort={onSort} />
    </div>
  );
}
