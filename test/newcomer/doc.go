// Package newcomer tries what somebody types who sees acmed for the first time: the real program, with a real CA.
package newcomer
