"""Validates composed trees and makes typed trials; reports all errors of a study at once, with locations."""
