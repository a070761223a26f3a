import neostandard from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['.tap/**', 'coverage/**'] }),
  // A schema and its Static type share a name; TypeScript itself reports a real redeclaration.
  { files: ['**/*.ts'], rules: { '@typescript-eslint/no-redeclare': 'off' } },
  {
    files: ['src/sandbox/playground/*.js', 'test/browser/examples/*.js'],
    languageOptions: { globals: { Audio: 'readonly', innerHeight: 'readonly', location: 'readonly', RTCPeerConnection: 'readonly' } }
  }
]
