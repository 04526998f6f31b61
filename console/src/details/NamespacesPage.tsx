import { Link, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { Namespace } from '../api/contract.gen';
import { shared } from '../options';
import { HealthSelect, ListPage } from '../pages/Filters';
import { healthColumn } from '../pages/DataTable';
import type { Column } from '../pages/sort';
import { text as common } from '../text';
import { details as text } from '../text.details';
import { useOptions } from '../useOptions';
import { namespacePath } from './subject';

const words = text.namespaceList;

/** The namespaces that the user may read. */
export default function NamespacesPage() {
  const [options] = useOptions();
  const [query] = useSearchParams();
  const answer = useApi('/api/namespaces', { window: options.window }, options.refresh);
  const columns: Column<Namespace>[] = [
    healthColumn((one) => one.health.status),
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
      passes={({ health }) => !options.health || health.status === options.health}
      columns={columns}
      idOf={(one) => one.name}
      first="name"
      none={words.none}
      filters={<HealthSelect />}
    />
  );
}
