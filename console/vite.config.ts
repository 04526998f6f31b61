import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: '../src/sailcloth/console/page',
    emptyOutDir: true,
    assetsDir: 'assets', // the server lets browsers keep what is here for ever: names hold a hash
    assetsInlineLimit: 0, // no data: URLs; the policy allows them for images only
    manifest: 'manifest.json', // read and removed by scripts/sizes.mjs
    reportCompressedSize: false,
    chunkSizeWarningLimit: 2000, // scripts/sizes.mjs has the limits
  },
  server: { proxy: { '/api': 'http://127.0.0.1:20001' } },
  test: { include: ['tests/unit/**/*.test.ts'] },
});
