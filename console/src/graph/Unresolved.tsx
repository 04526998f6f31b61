/** Where requests went that no service has, with a form that would name each place. */
import { Link, useSearchParams } from 'react-router';
import { scope, useApi } from '../api/client';
import { shared } from '../options';
import { Loading } from '../shell/states';
import { text } from '../text';
import { useOptions } from '../useOptions';

export default function Unresolved({ cluster }: { cluster: string }) {
  const [query] = useSearchParams();
  const [options] = useOptions();
  const { namespaces } = scope(options);
  const answer = useApi('/api/unresolved', { namespaces });
  if (!answer.data) return answer.error ? <p>{answer.error.message}</p> : <Loading />;
  const found = answer.data.filter((one) => one.cluster === cluster);
  const kept = shared(query);
  return (
    <section>
      <h3>{text.panel.unresolved}</h3>
      {found.length === 0 && <p>{text.panel.nothingUnresolved}</p>}
      <ul className="sc-plain">
        {found.map((one) => (
          <li key={`${one.host} ${one.address} ${one.port}`}>
            <strong>
              {one.host || one.address}:{one.port}
            </strong>{' '}
            {text.panel.unresolvedFrom(one.count, one.sources.join(', '))}{' '}
            <Link to={`/config/new/service-entry${kept}${kept ? '&' : '?'}values=${encodeURIComponent(JSON.stringify(one.values))}`}>
              {text.panel.nameIt}
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}
