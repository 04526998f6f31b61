import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { useApi } from '../api/client';
import { useParameters } from '../details/parameters';
import { PlainTable } from '../details/Table';
import { Card, Note } from '../pages/Card';
import { StatusMark } from '../shell/health';
import { Loading, Problem } from '../shell/states';
import { useOptions } from '../useOptions';
import { text } from './text';

const DEFAULTS = { use: 'false' };
const words = text.object;

/** Which routes of a VirtualService got requests in the window, when asked for. */
export default function RuleUse(rule: { namespace: string; name: string }) {
  const [{ window }] = useOptions();
  const [{ use }, change] = useParameters(DEFAULTS);
  const { data, error, refetch } = useApi('/api/config/use', { kind: 'VirtualService', ...rule, window }, 0, use === 'true');
  return (
    <Card title={words.use}>
      {use !== 'true' ? (
        <Button variant="secondary" onClick={() => change({ use: 'true' })}>
          {words.showUse(window)}
        </Button>
      ) : !data ? (
        error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />
      ) : !data.looked ? (
        <Note>{words.noLogs(window)}</Note>
      ) : (
        <>
          <PlainTable
            label={words.use}
            columns={[words.route, words.sends, words.requests]}
            rows={data.routes.map(({ name, destinations, requests, shared }, index) => [
              `${index}`,
              name || words.nameless(index + 1),
              destinations.join(', '),
              <span className="sc-status-words sc-wraps">
                <StatusMark status={requests ? 'Healthy' : requests === 0 ? 'Degraded' : 'NA'} />
                {requests === null ? words.unknownUse : requests || words.dead}
                {shared && ` (${words.sharedUse})`}
              </span>,
            ])}
          />
          <Note>{words.useOf(data.looked, window)}</Note>
        </>
      )}
    </Card>
  );
}
