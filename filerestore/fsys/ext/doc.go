// Package ext reads ext2, ext3 and ext4.
package ext
