// The upstream of calls that the tests use, as a process: without WebRTC, and as fast as it can.

import { startCallsUpstream } from '../support/calls-upstream.ts'

const { url } = await startCallsUpstream({ teardown: () => {} })

process.on('message', (message) => { if (message !== 'account') process.send?.({ url }) })
process.send?.('listening')
