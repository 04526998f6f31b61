import { Select } from '../shell/Act';
import { useMemo } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { ConfigItem } from '../api/contract.gen';
import { moment, utc } from '../format';
import { shared } from '../options';
import { StatusMark } from '../shell/health';
import { Words } from '../shell/states';
import { text } from '../text';
import { useOptions } from '../useOptions';
import { ListPage } from './Filters';
import type { Column } from './sort';

const columns = (keep: string): Column<ConfigItem>[] => [
  {
    key: 'accepted',
    title: text.list.accepted,
    value: (item) => Number(item.accepted),
    cell: (item) => (
      <span className="sc-status-words">
        <StatusMark status={item.accepted ? 'Healthy' : 'Failure'} />{' '}
        {item.accepted ? text.list.accepted : item.reason || text.list.notAccepted}
      </span>
    ),
  },
  {
    key: 'findings',
    title: text.list.findings,
    value: (item) => -1000 * item.errors - item.warnings,
    cell: (item) => <FindingCounts errors={item.errors} warnings={item.warnings} />,
  },
  { key: 'kind', title: text.list.kind, value: (item) => item.kind, cell: (item) => <span title={item.apiVersion}>{item.kind}</span> },
  {
    key: 'name',
    title: text.list.name,
    value: (item) => item.name,
    cell: (item) => <Link to={`/config/${item.kind}/${item.namespace}/${item.name}${keep}`}>{item.name}</Link>,
  },
  { key: 'namespace', title: text.list.namespace, value: (item) => item.namespace },
  { key: 'message', title: text.list.message, value: (item) => item.message, cell: (item) => <Words>{item.message}</Words> },
  { key: 'proxies', title: text.list.proxies, value: (item) => item.proxies },
  {
    key: 'created',
    title: text.list.created,
    value: (item) => item.created,
    cell: (item) => <span title={utc(item.created)}>{moment(item.created)}</span>,
  },
];

/** Objects of the mesh: whether each is accepted, why not, and which proxies have it. */
export default function ConfigPage() {
  const [options, change] = useOptions();
  const [query] = useSearchParams();
  const answer = useApi('/api/config', { namespaces: options.namespaces.join(',') }, options.refresh);
  const kinds = useMemo(() => [...new Set((answer.data ?? []).map((item) => item.kind))].sort(), [answer.data]);
  const filters = (
    <>
      <Select
        label={text.list.kind}
        value={options.kind}
        choices={[['', text.list.anyKind], ...kinds.map((kind) => [kind, kind] as const)]}
        onChange={(kind) => change({ kind })}
      />
      <Select
        label={text.list.accepted}
        value={options.accepted}
        choices={[
          ['', text.list.anyState],
          ['yes', text.list.accepted],
          ['no', text.list.notAccepted],
        ]}
        onChange={(accepted) => change({ accepted })}
      />
      <Link className="sc-push" to={`/config/new${shared(query)}`}>
        {text.list.create}
      </Link>
    </>
  );
  return (
    <ListPage
      title={text.shell.config}
      answer={answer}
      passes={({ kind, accepted }) => (!options.kind || kind === options.kind) && (!options.accepted || accepted === (options.accepted === 'yes'))}
      columns={columns(shared(query))}
      idOf={(item) => `${item.kind}/${item.namespace}/${item.name}`}
      first="accepted"
      none={text.list.noConfigFix}
      filters={filters}
    />
  );
}

function FindingCounts({ errors, warnings }: { errors: number; warnings: number }) {
  if (!errors && !warnings) return <>{text.list.noFindings}</>;
  return (
    <span className="sc-status-words">
      <StatusMark status={errors ? 'Failure' : 'Degraded'} /> {text.list.findingCounts(errors, warnings)}
    </span>
  );
}
