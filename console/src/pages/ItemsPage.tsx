import { Select } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Popover } from '@patternfly/react-core/dist/dynamic/components/Popover';
import { Link, useSearchParams } from 'react-router';
import { scope, useApi } from '../api/client';
import type { Item } from '../api/contract.gen';
import { pathOf } from '../details/subject';
import { duration, percent, rate } from '../format';
import { STATUSES } from '../health';
import { shared } from '../options';
import { StatusWords, Why } from '../shell/health';
import { text } from '../text';
import { useOptions } from '../useOptions';
import { HealthSelect, ListPage } from './Filters';
import type { Column } from './sort';

interface Props {
  path: '/api/apps' | '/api/workloads' | '/api/services';
  title: string;
}

const KINDS = { '/api/apps': 'app', '/api/workloads': 'workload', '/api/services': 'service' } as const;

/** Applications, workloads or services. */
export default function ItemsPage({ path, title }: Props) {
  const [options, change] = useOptions();
  const [query] = useSearchParams();
  const answer = useApi(path, scope(options), options.refresh);
  const kind = KINDS[path];
  const columns: Column<Item>[] = [
    {
      key: 'health',
      title: text.list.health,
      value: (item) => STATUSES.indexOf(item.health.status),
      cell: (item) => <HealthCell item={item} />,
    },
    {
      key: 'name',
      title: text.list.name,
      value: (item) => item.name,
      cell: (item) => <Link to={pathOf({ kind, namespace: item.namespace, name: item.name }) + shared(query)}>{item.name}</Link>,
    },
    { key: 'namespace', title: text.list.namespace, value: (item) => item.namespace },
    ...(path === '/api/workloads' ? [{ key: 'kind', title: text.list.kind, value: (item: Item) => item.kind }] : []),
    ...(path === '/api/services'
      ? []
      : [{ key: 'versions', title: text.list.versions, value: (item: Item) => item.versions.join(', ') }, sidecar]),
    { key: 'rate', title: text.list.rate, value: (item) => item.rate, cell: (item) => rate(item.rate) },
    { key: 'errors', title: text.list.errors, value: (item) => item.errorShare, cell: (item) => percent(item.errorShare) },
    { key: 'p95', title: text.list.p95, value: (item) => item.p95 ?? -1, cell: (item) => (item.p95 === null ? '–' : duration(item.p95)) },
    ...(path === '/api/services' ? [wizard(shared(query))] : []),
  ];
  const filters = (
    <>
      <HealthSelect />
      {path !== '/api/services' && (
        <Select
          label={text.list.sidecar}
          value={options.sidecar}
          choices={[
            ['', text.list.anySidecar],
            ['yes', text.list.withSidecar],
            ['no', text.list.withoutSidecar],
          ]}
          onChange={(value) => change({ sidecar: value })}
        />
      )}
    </>
  );
  return (
    <ListPage
      title={title}
      answer={answer}
      passes={({ health, sidecar }) =>
        (!options.health || health.status === options.health) && (!options.sidecar || sidecar === (options.sidecar === 'yes'))
      }
      columns={columns}
      idOf={(item) => `${item.kind}/${item.namespace}/${item.name}`}
      first="name"
      none={text.list.nothingFix}
      filters={filters}
    />
  );
}

const sidecar: Column<Item> = {
  key: 'sidecar',
  title: text.list.sidecar,
  value: (item) => Number(item.sidecar),
  cell: (item) => (item.sidecar ? text.list.present : text.list.missing),
};

const wizard = (kept: string): Column<Item> => ({
  key: 'wizard',
  title: text.list.traffic,
  cell: (item) => <Link to={`/services/${item.namespace}/${item.name}/traffic${kept}`}>{text.list.wizard}</Link>,
});

/** The health, and in a popover why it is so. */
function HealthCell({ item }: { item: Item }) {
  return (
    <Popover headerContent={text.health.whyTitle} bodyContent={<Why health={item.health} />} maxWidth="26rem" position="right">
      <Button
        variant="plain"
        hasNoPadding
        className="sc-why-button"
        aria-label={`${text.status[item.health.status]}. ${text.health.why(item.name)}`}
      >
        <StatusWords status={item.health.status} />
      </Button>
    </Popover>
  );
}
