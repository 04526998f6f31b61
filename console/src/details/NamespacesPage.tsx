import { useMemo } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { Namespace } from '../api/contract.gen';
import { STATUSES } from '../health';
import { shared } from '../options';
import { DataTable } from '../pages/DataTable';
import { ListPage, Select } from '../pages/Filters';
import type { Column } from '../pages/sort';
import { StatusWords } from '../shell/health';
import { text as common } from '../text';
import { details as text } from '../text.details';
import { useOptions } from '../useOptions';
import { namespacePath } from './subject';

const words = text.namespaceList;

/** The namespaces that the user may read. */
export default function NamespacesPage() {
  const [options, change] = useOptions();
  const [query] = useSearchParams();
  const answer = useApi('/api/namespaces', { window: options.window }, options.refresh);
  const rows = useMemo(
    () =>
      (answer.data ?? []).filter(
        ({ name, health }) => name.includes(options.q.trim().toLowerCase()) && (!options.health || health.status === options.health),
      ),
    [answer.data, options],
  );
  const columns: Column<Namespace>[] = [
    {
      key: 'health',
      title: common.list.health,
      value: (one) => STATUSES.indexOf(one.health.status),
      cell: (one) => <StatusWords status={one.health.status} />,
    },
    {
      key: 'name',
      title: common.list.name,
      value: (one) => one.name,
      cell: (one) => <Link to={namespacePath(one.name) + shared(query)}>{one.name}</Link>,
    },
    { key: 'sidecars', title: words.injection, value: (one) => (one.injected ? words.injected : words.notInjected) },
    { key: 'kind', title: words.kind, value: (one) => (one.controlPlane ? words.controlPlane : words.dataPlane) },
  ];
  return (
    <ListPage
      title={text.namespaces}
      answer={answer}
      rows={rows}
      options={options}
      change={change}
      none={words.none}
      filters={
        <Select
          label={common.list.health}
          value={options.health}
          choices={[['', common.list.anyHealth], ...STATUSES.map((status) => [status, common.status[status]] as const)]}
          onChange={(health) => change({ health })}
        />
      }
    >
      <DataTable
        label={text.namespaces}
        rows={rows}
        columns={columns}
        idOf={(one) => one.name}
        sort={options.sort || 'name'}
        onSort={(sort) => change({ sort })}
      />
    </ListPage>
  );
}
