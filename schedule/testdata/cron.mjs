// Prints when each of the questions is due next, in seconds.
import { createSchedule } from '@xen-orchestra/cron'
import { createRequire } from 'node:module'

// The library that @xen-orchestra/cron itself counts with gives the starting point.
const moment = createRequire(createRequire(import.meta.url).resolve('@xen-orchestra/cron'))('moment-timezone')
for (const { text, zone, from } of questions) {
  const now = Date.now
  Date.now = () => from * 1000
  moment.now = () => from * 1000
  try {
    console.log(createSchedule(text, zone).next(3).map(date => Math.round(date / 1000)).join(' '))
  } catch (error) {
    console.log('error')
  }
  Date.now = now
}
