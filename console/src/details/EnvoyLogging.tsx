import { Select } from '../shell/Act';
import { useState } from 'react';
import { type ApiProblem, client, post, useApi } from '../api/client';
import { Note } from '../pages/Card';
import { Loading, Problem } from '../shell/states';
import { details as text } from '../text.details';
import { PlainTable } from './Table';

const PATH = '/api/proxy-config/logging';
const LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off'].map((level) => [level, level] as const);

/** The levels of a pod's Envoy, and how to set them. */
export default function EnvoyLogging(pod: { namespace: string; pod: string }) {
  const { data, error, refetch } = useApi(PATH, pod, 0);
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  if (!data) return error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />;
  const levels = Object.entries(data.levels);
  const set = async (logger: string, level: string): Promise<void> => {
    try {
      client.setQueryData([PATH, pod], await post(PATH, { ...pod, logger, level }));
      setProblem(null);
    } catch (failed) {
      setProblem(failed as ApiProblem);
    }
  };
  const same = levels.every(([, level]) => level === levels[0]?.[1]) ? (levels[0]?.[1] ?? '') : '';
  const choice = (label: string, logger: string, value: string) => (
    <Select label={label} value={value} choices={value ? LEVELS : [['', text.envoy.mixed], ...LEVELS]} onChange={(level) => void (level && set(logger, level))} />
  );
  return (
    <>
      <Note>{text.envoy.loggerHelp}</Note>
      {problem && <Problem error={problem} retry={() => void refetch()} />}
      <div className="sc-card">
        <PlainTable
          label={text.envoy.parts['logging'] ?? ''}
          columns={[text.envoy.logger, text.envoy.level]}
          rows={[
            ['', text.envoy.allLoggers, choice(text.envoy.allLoggers, '', same)],
            ...levels.map(([logger, level]) => [logger, logger, choice(logger, logger, level)] as const),
          ]}
        />
      </div>
    </>
  );
}
