/** What a page shows when it has nothing to show: why, and what to do. */
import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter } from '@patternfly/react-core/dist/dynamic/components/EmptyState';
import { Spinner } from '@patternfly/react-core/dist/dynamic/components/Spinner';
import { Component, type ReactNode, useEffect, useState } from 'react';
import { ApiProblem } from '../api/client';
import { text } from '../text';

const SLOW_MS = 10_000;

/** Text with `code` in backquotes. */
export function Words({ children }: { children: string }) {
  return children.split('`').map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part));
}

/** `slow` is said after ten seconds. */
export function Loading({ words = text.state.loading, slow: slowWords = text.state.slow }: { words?: string; slow?: string }) {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), SLOW_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className="sc-state" role="status">
      <Spinner size="lg" aria-label={words} />
      <p>{slow ? slowWords : words}</p>
    </div>
  );
}

export function Empty({ title, words, children }: { title: string; words: string | string[]; children?: ReactNode }) {
  return (
    <EmptyState titleText={title} headingLevel="h2" variant="sm">
      {[words].flat().map((line) => (
        <EmptyStateBody key={line}>
          <Words>{line}</Words>
        </EmptyStateBody>
      ))}
      {children && (
        <EmptyStateFooter>
          <EmptyStateActions>{children}</EmptyStateActions>
        </EmptyStateFooter>
      )}
    </EmptyState>
  );
}

const fixOf = (error: unknown): string => (error instanceof ApiProblem ? error.fix : '');
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** An error in the place of the page. */
export function Problem({ error, retry }: { error: unknown; retry: () => void }) {
  return (
    <Empty title={messageOf(error)} words={fixOf(error)}>
      <Button variant="primary" onClick={retry}>
        {text.state.retry}
      </Button>
    </Empty>
  );
}

/** An error above the last answer, which stays. */
export function Stale({ error }: { error: unknown }) {
  if (!error) return null;
  return (
    <Alert isInline variant="warning" title={messageOf(error)}>
      <Words>{text.state.stale(fixOf(error))}</Words>
    </Alert>
  );
}

/** Shows what went wrong in a page in its place: a file of a newer version that is gone from the server, or our bug. */
export class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <Empty title={text.state.broken} words={[messageOf(this.state.error), text.state.brokenFix]}>
        <Button variant="primary" onClick={() => window.location.reload()}>
          {text.state.reload}
        </Button>
      </Empty>
    );
  }
}
