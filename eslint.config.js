import importSort from 'eslint-plugin-simple-import-sort'
import neostandard, { plugins } from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['.tap/**', 'coverage/**'] }),
  // A schema and its Static type share a name; TypeScript itself reports a real redeclaration.
  { files: ['**/*.ts'], rules: { '@typescript-eslint/no-redeclare': 'off' } },
  {
    files: ['src/**/*.{ts,js}', 'test/**/*.{ts,js}', '*.js'],
    plugins: { '@stylistic': plugins['@stylistic'], 'import-sort': importSort },
    rules: {
      '@stylistic/max-len': ['error', { code: 120 }],
      // What is loaded for its effects, Node.js, packages, then our own from far to near; no blank lines between.
      'import-sort/imports': ['error', { groups: [['^\\u0000', '^node:', '^@?\\w', '^\\.\\.', '^\\.']] }]
    }
  },
  {
    files: ['src/sandbox/playground/*.js', 'test/browser/examples/*.js'],
    languageOptions: {
      globals: Object.fromEntries([
        'addEventListener', 'Audio', 'AudioContext', 'EventSource', 'GainNode', 'innerHeight', 'location',
        'MediaStreamAudioDestinationNode', 'OscillatorNode', 'removeEventListener', 'RTCPeerConnection'
      ].map((name) => [name, 'readonly']))
    }
  }
]
