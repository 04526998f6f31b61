// Opens Chromium for a script of this folder, with a profile of its own, and remembers what a page writes to the browser's console as errors.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

/** @typedef {import('playwright-core').ConsoleMessage} ConsoleMessage */

/**
 * `isExpected`: an error that is meant to be. Pictures go to the folder of E2E_PICTURES, if set.
 * @param {number} deadlineMs @param {(message: ConsoleMessage) => boolean} [isExpected]
 */
export async function open(deadlineMs, isExpected = () => false) {
  const folder = mkdtempSync(join(tmpdir(), 'sailcloth-e2e-'));
  const browser = await chromium.launchPersistentContext(folder, {
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
    viewport: { width: 1440, height: 900 },
  });
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(deadlineMs);
  /** @type {string[]} */
  const errors = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && !isExpected(message)) errors.push(`${page.url()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => errors.push(`${page.url()}: ${error.message}`));
  return {
    page,
    errors,
    /** @param {string} name */
    picture: async (name) => {
      const pictures = process.env['E2E_PICTURES'];
      if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`) });
    },
    close: async () => {
      await browser.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
