// Names the periods of each of the questions.
import moment from 'moment-timezone'

for (const { time, zone, offset } of questions) {
  const at = (unit, n) => {
    const t = moment.tz(time, zone)
    return unit === 'hours' ? t.hour(t.hour() - n) : t.date(t.date() - n)
  }
  console.log(
    `daily=${at('hours', offset).format('YYYY-MM-DD')} weekly=${at('days', offset).format('gggg-ww')} ` +
      `monthly=${at('days', offset).format('YYYY-MM')} yearly=${at('days', offset).format('YYYY')}`
  )
}
