/** Moves through the graphs of the last minutes; the moment is in the URL. */
import { Act, Select } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { useEffect, useState } from 'react';
import { clock, utc } from '../format';
import { text } from '../text';
import type { Change } from '../useOptions';

const STEP_S = 10;
const SPANS = [1, 5, 10, 30] as const; // minutes
const SPEEDS = [1, 3, 5] as const; // seconds for each step
const now = (): number => Math.floor(Date.now() / 1000 / STEP_S) * STEP_S;

export default function ReplayBar({ at, change }: { at: number; change: Change }) {
  const [end, setEnd] = useState(() => Math.max(now(), at));
  const [span, setSpan] = useState<number>(() => SPANS.find((minutes) => minutes > 1 && at >= end - minutes * 60) ?? 30);
  const [speed, setSpeed] = useState<number>(3);
  const [playing, setPlaying] = useState(false);
  const start = Math.min(end - span * 60, at);
  const go = (moment: number): void => change({ at: String(Math.min(Math.max(moment, start), end)) }, true);
  useEffect(() => {
    if (!playing) return;
    const timer = window.setTimeout(() => {
      if (at >= end) setPlaying(false);
      else change({ at: String(at + STEP_S) }, true);
    }, speed * 1000);
    return () => window.clearTimeout(timer);
  }, [playing, at, end, speed, change]);
  return (
    <div className="sc-bar sc-replay" role="group" aria-label={text.replay.label}>
      <Button variant="secondary" onClick={() => setPlaying(!playing)}>
        {playing ? text.replay.pause : text.replay.play}
      </Button>
      <Button variant="plain" aria-label={text.replay.earlier} onClick={() => go(at - STEP_S)}>
        ‹
      </Button>
      <input
        type="range"
        min={start}
        max={end}
        step={STEP_S}
        value={at}
        aria-label={text.replay.moment}
        aria-valuetext={clock(at)}
        onChange={(event) => go(Number(event.target.value))}
      />
      <Button variant="plain" aria-label={text.replay.later} onClick={() => go(at + STEP_S)}>
        ›
      </Button>
      <time title={utc(at)}>{clock(at)}</time>
      <Select
        label={text.replay.span}
        value={String(span)}
        choices={SPANS.map((minutes) => [String(minutes), text.replay.minutes(minutes)])}
        onChange={(minutes) => (setSpan(Number(minutes)), setEnd(now()))}
      />
      <Select
        label={text.replay.speed}
        value={String(speed)}
        choices={SPEEDS.map((seconds) => [String(seconds), text.replay.pace(seconds)])}
        onChange={(seconds) => setSpeed(Number(seconds))}
      />
      <Act words={text.replay.live} onClick={() => change({ at: '' })} />
    </div>
  );
}
