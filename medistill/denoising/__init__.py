"""Denoising: class-conditional denoisers, trained here or brought, whose errors say what a class looks like."""
