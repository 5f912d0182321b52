"""What a distilled set gives away: copies, remains of real images, membership, and the gate before it leaves."""
