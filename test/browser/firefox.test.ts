// The official SDK in Firefox, which sends headers that Chromium leaves out.

import t from 'tap'
import { crossOriginTests } from './cross-origin.ts'
import { type Firefox, firefoxTest, launchFirefox } from './firefox.ts'

let firefox: Promise<Firefox> | undefined

const evaluate = async () => {
  firefox ??= launchFirefox(t)
  return (await firefox).evaluate
}

const tests = crossOriginTests(evaluate, { 'the openai package, version 6': ['user-agent'] })
for (const [name, body] of Object.entries(tests)) firefoxTest(`Firefox: ${name}`, body)
