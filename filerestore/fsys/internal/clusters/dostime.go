package clusters

import "time"

// DOSTime decodes a date (years from 1980, month, day in bits 9, 5 and 0), a
// time of day (hours, minutes, two seconds in bits 11, 5 and 0) and further
// hundredths of a second, up to 199. It is zero where there is no such day.
func DOSTime(date, clock uint16, hundredths byte, zone *time.Location) time.Time {
	month, day := int(date>>5&15), int(date&31)
	if month < 1 || month > 12 || day < 1 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), time.Month(month), day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, int(hundredths)*10_000_000, zone)
}
