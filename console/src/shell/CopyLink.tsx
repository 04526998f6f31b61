/** Copies a short link to what is shown; the long one where the server makes none. */
import { useEffect, useState } from 'react';
import { post } from '../api/client';
import { text } from '../text';
import { Act } from './Act';

const SHOWN_MS = 3000;

export function CopyLink() {
  const [copied, setCopied] = useState('');
  useEffect(() => {
    if (!copied) return;
    const timer = window.setTimeout(() => setCopied(''), SHOWN_MS);
    return () => window.clearTimeout(timer);
  }, [copied]);
  const copy = async (): Promise<void> => {
    const { href, origin, pathname, search } = window.location;
    const link = await post('/api/links', { path: pathname + search }).then(({ path }) => origin + path, () => href);
    // Only a secure page may write to the clipboard; elsewhere the link is shown.
    await navigator.clipboard?.writeText(link).then(undefined, () => undefined);
    setCopied(link);
  };
  return (
    <span role="status" className="sc-copy-link">
      <Act words={copied ? text.link.copied : text.link.copy} onClick={() => void copy()} />
      {copied && <a href={copied}>{new URL(copied).pathname}</a>}
    </span>
  );
}
