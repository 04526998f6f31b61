import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Suspense, lazy, useId, useState } from 'react';
import type { Options } from '../options';
import { text } from '../text';
import { type Change, useTyped } from '../useOptions';

const FindHelp = lazy(() => import('./FindHelp'));

interface FindProps {
  options: Options;
  change: Change;
  findError: string;
  hideError: string;
  found: string;
  /** How a text can go on, whole. */
  completions: (typed: string) => string[];
}

/** The find and hide boxes, with the help of their language. */
export default function FindHide({ options, change, findError, hideError, found, completions }: FindProps) {
  const [help, setHelp] = useState(false);
  return (
    <div className="sc-find" role="search">
      <Box
        label={text.find.find}
        hint={text.find.findHint}
        value={options.find}
        error={findError}
        completions={completions}
        onChange={(find) => change({ find }, true)}
        search
      />
      <Box
        label={text.find.hide}
        hint={text.find.hideHint}
        value={options.hide}
        error={hideError}
        completions={completions}
        onChange={(hide) => change({ hide }, true)}
      />
      <Button variant="plain" aria-label={text.find.help} title={text.find.help} aria-expanded={help} onClick={() => setHelp(!help)}>
        ?
      </Button>
      <span role="status">{found}</span>
      {help && (
        <Suspense fallback={null}>
          <FindHelp onExample={(find) => change({ find })} />
        </Suspense>
      )}
    </div>
  );
}

interface BoxProps {
  label: string;
  hint: string;
  value: string;
  error: string;
  completions: (typed: string) => string[];
  onChange: (value: string) => void;
  search?: boolean;
}

function Box({ label, hint, value, error, completions, onChange, search = false }: BoxProps) {
  const id = useId();
  const [typed, type] = useTyped(value, onChange);
  return (
    <span className="sc-find-box" {...(search ? { 'data-search': true } : {})}>
      <input
        className="sc-input"
        type="search"
        aria-label={label}
        placeholder={hint}
        list={`${id}-list`}
        value={typed}
        aria-invalid={Boolean(error)}
        aria-describedby={error ? id : undefined}
        onChange={(event) => type(event.target.value)}
        onKeyDown={(event) => event.key === 'Escape' && type('')}
      />
      <datalist id={`${id}-list`}>
        {completions(typed).map((one) => (
          <option key={one} value={one} />
        ))}
      </datalist>
      {error && (
        <span id={id} role="alert" className="sc-error">
          {error}
        </span>
      )}
    </span>
  );
}
