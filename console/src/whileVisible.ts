/**
 * Opens something while the page is visible, until the returned function is called: a browser has few connections to one server, and a
 * hidden page gives its own up.
 */
export function whileVisible(open: () => void, close: () => void): () => void {
  const onVisibility = (): void => (document.hidden ? close() : open());
  document.addEventListener('visibilitychange', onVisibility);
  if (!document.hidden) open();
  return () => {
    document.removeEventListener('visibilitychange', onVisibility);
    close();
  };
}
