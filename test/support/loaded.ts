// Preloaded: writes the URL of each module that the process loads to LOADED_FILE.

import { appendFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

registerHooks({
  load: (url, context, next) => {
    appendFileSync(process.env.LOADED_FILE as string, `${url}\n`)
    return next(url, context)
  }
})
