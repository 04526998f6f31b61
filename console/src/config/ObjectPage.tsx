/** An object of the mesh: where it is in force, what it names, and its YAML to change. */
import { Card } from '../pages/Card';
import { Act } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Tab, TabTitleText, Tabs } from '@patternfly/react-core/dist/dynamic/components/Tabs';
import { Suspense, lazy, useState } from 'react';
import { Link, useNavigate, useParams, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { ConfigObject, Delivery, Reference } from '../api/contract.gen';
import { PlainTable } from '../details/Table';
import { When } from '../details/parts';
import { duration, moment, utc } from '../format';
import { shared } from '../options';
import { StatusMark } from '../shell/health';
import { Loading, Problem, Stale, Words } from '../shell/states';
import { useOptions } from '../useOptions';
import { Findings } from './YamlEditor';
import YamlEditor from './YamlEditor';
import { apply } from './changes';
import { linkTo } from './links';
import { text } from './text';

const RuleUse = lazy(() => import('./RuleUse'));

export default function ObjectPage() {
  const { kind = '', namespace = '', name = '' } = useParams();
  const [options, change] = useOptions();
  const [query] = useSearchParams();
  const answer = useApi('/api/config/object', { kind, namespace, name }, options.refresh);
  const { data, error } = answer;
  return (
    <div className="sc-page">
      <nav aria-label={text.object.back}>
        <Link to={`/config${shared(query)}`}>{text.object.back}</Link>
      </nav>
      <header className="sc-title">
        <h1>
          <span className="sc-where">{kind}</span> {namespace}/{name}
        </h1>
        {data && <Actions data={data} />}
      </header>
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void answer.refetch()} /> : <Loading />)}
      {data && (
        <Tabs
          activeKey={options.tab || 'status'}
          onSelect={(_, tab) => change({ tab: tab === 'status' ? '' : String(tab) })}
          mountOnEnter
          unmountOnExit
        >
          <Tab eventKey="status" title={<TabTitleText>{text.object.tabs.status}</TabTitleText>}>
            <Status data={data} />
          </Tab>
          <Tab eventKey="yaml" title={<TabTitleText>{text.object.tabs.yaml}</TabTitleText>}>
            <YamlEditor
              name={`${kind} ${namespace}/${name}`}
              kind={kind}
              original={data.yaml}
              isNew={false}
              markers={data.markers}
              mayWrite={data.mayUpdate}
              onApplied={() => undefined}
            />
          </Tab>
        </Tabs>
      )}
    </div>
  );
}

function Actions({ data }: { data: ConfigObject }) {
  const [query] = useSearchParams();
  const [sure, setSure] = useState(false);
  const navigate = useNavigate();
  const { kind, namespace, name } = data.item;
  const remove = async (): Promise<void> => {
    const applied = await apply({ yaml: '', delete: [{ kind, namespace, name }], dryRun: false });
    if (applied?.done.length) void navigate(`/config${shared(query)}`);
    else setSure(false);
  };
  const service = data.references.find((one) => one.kind === 'Service' && one.exists);
  const wizard =
    data.form === 'traffic'
      ? service && `/services/${service.namespace}/${service.name}/traffic${shared(query)}`
      : data.form && `/config/${kind}/${namespace}/${name}/form${shared(query)}`;
  return (
    <div className="sc-filters">
      {wizard && data.mayUpdate && <Link to={wizard}>{text.object.wizard}</Link>}
      {data.formProblem && (
        <span className="sc-where" title={data.formProblem}>
          {text.object.noWizard}
        </span>
      )}
      {data.mayDelete && !sure && (
        <Button variant="danger" onClick={() => setSure(true)}>
          {text.object.remove}
        </Button>
      )}
      {sure && (
        <span role="alertdialog" aria-label={text.object.remove} className="sc-filters">
          {text.object.removeSure(`${kind} ${namespace}/${name}`)}
          <Button variant="danger" onClick={() => void remove()}>
            {text.object.remove}
          </Button>
          <Act words={text.object.keep} onClick={() => setSure(false)} />
        </span>
      )}
    </div>
  );
}

function Status({ data }: { data: ConfigObject }) {
  const words = text.object.condition;
  return (
    <div className="sc-cards sc-below">
      <Card title={text.object.conditions} wide>
        {data.conditions.length === 0 && <p>{text.object.noConditions}</p>}
        {data.conditions.length > 0 && (
          <PlainTable
            label={text.object.conditions}
            columns={Object.values(words)}
            rows={data.conditions.map((one) => [
              one.type,
              <>
                <StatusMark status={one.status === 'True' ? 'Healthy' : one.status === 'False' ? 'Failure' : 'NA'} /> {one.type}
              </>,
              one.status,
              one.reason,
              <Words>{one.message}</Words>,
              <When at={one.since} />,
            ])}
          />
        )}
      </Card>
      <DeliveryCard delivery={data.delivery} />
      {data.item.kind === 'VirtualService' && (
        <Suspense fallback={<Loading />}>
          <RuleUse namespace={data.item.namespace} name={data.item.name} />
        </Suspense>
      )}
      <References references={data.references} />
      <Findings markers={data.markers} />
    </div>
  );
}

const LISTED = 20;

function DeliveryCard({ delivery }: { delivery: Delivery | null }) {
  if (!delivery)
    return (
      <Card title={text.object.delivery}>
        <p>{text.object.noDelivery}</p>
      </Card>
    );
  const slowest = Math.max(0, ...delivery.answers.map((answer) => answer.ms));
  return (
    <Card title={text.object.delivery}>
      <p title={utc(delivery.received)}>
        {moment(delivery.received)}. {text.object.computed(duration(delivery.computedMs))}{' '}
        {text.object.answered(delivery.answers.length, duration(slowest))}{' '}
        {delivery.waiting.length > 0 && text.object.waiting(delivery.waiting.join(', '))}
      </p>
      <PlainTable
        label={text.object.delivery}
        columns={[text.object.proxy, text.object.answer, text.object.time]}
        rows={delivery.answers.slice(0, LISTED).map((answer) => [
          answer.proxy,
          answer.proxy,
          answer.error ? (
            <>
              <StatusMark status="Failure" /> {text.object.refusedBy}: {answer.error}
            </>
          ) : (
            text.object.taken
          ),
          duration(answer.ms),
        ])}
      />
    </Card>
  );
}

function References({ references }: { references: Reference[] }) {
  const [query] = useSearchParams();
  return (
    <Card title={text.object.references}>
      {references.length === 0 && <p>{text.object.noReferences}</p>}
      <ul className="sc-plain">
        {references.map((one) => (
          <li key={`${one.kind}/${one.namespace}/${one.name}/${one.what}`}>
            {one.what}{' '}
            {one.exists ? (
              <Link to={linkTo(one) + shared(query)}>
                {one.kind} {one.namespace}/{one.name}
              </Link>
            ) : (
              <>
                <StatusMark status="Failure" /> {one.kind} {one.namespace}/{one.name} {text.object.missing}
              </>
            )}
          </li>
        ))}
      </ul>
    </Card>
  );
}
