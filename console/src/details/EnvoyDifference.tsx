import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { useApi } from '../api/client';
import { Note } from '../pages/Card';
import { Loading, Problem } from '../shell/states';
import { details as text } from '../text.details';

/** What a pod's Envoy has against what the control plane sends, as lines of a diff. */
export default function EnvoyDifference(pod: { namespace: string; pod: string }) {
  const { data, error, isFetching, refetch } = useApi('/api/proxy-config/difference', pod, 0);
  if (!data) return error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />;
  return (
    <>
      <div className="sc-between">
        <Note>{text.envoy.differenceHelp}</Note>
        <Button variant="secondary" isDisabled={isFetching} onClick={() => void refetch()}>
          {text.envoy.compare}
        </Button>
      </div>
      {data.map(({ part, lines, cut }) => (
        <section key={part} className="sc-card">
          <h2>{text.envoy.parts[part]}</h2>
          {lines.length ? (
            <pre className="sc-lines sc-diff" tabIndex={0} role="region" aria-label={text.envoy.parts[part]}>
              {lines.map((line, index) => (
                <span key={index} className={line.startsWith('+') ? 'sc-added' : line.startsWith('-') ? 'sc-removed' : ''}>
                  {`${line}\n`}
                </span>
              ))}
            </pre>
          ) : (
            <p>{text.envoy.same}</p>
          )}
          {cut > 0 && <Note>{text.envoy.moreLines(cut)}</Note>}
        </section>
      ))}
    </>
  );
}
