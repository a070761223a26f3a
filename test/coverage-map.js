// The files of the coverage gate: all of src/ except the sandbox, which is not production code. None for a process that
// is not counted (test/groups.ts).

const SOURCES = ['src/*.ts', 'src/!(sandbox)/**/*.ts']
// As long to look for as the others: tap starts a process when it has found the files, and the order matters.
const NONE = SOURCES.map((pattern) => `${pattern}.none`)

export default (test) => test.endsWith('.uncounted.ts') ? NONE : SOURCES
